//! The wire: generated messages, and their translation to the types of `xtfs-core`.

mod data;
mod header;
mod status;

/// Generated from `proto/`.
#[allow(clippy::all, clippy::too_many_lines, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("xtfs.v1");
}

/// For gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("xtfs");

pub use header::{Caller, Header};
pub use status::{error_detail, from_detail, from_status, to_status};
