//! Vocabulary and rules of xtfs: ids, striping, capabilities, checksums, errors, clock. No IO.

pub mod access;
pub mod acl;
pub mod capability;
pub mod checksum;
mod clock;
mod error;
mod ids;
mod layout;
pub mod units;

pub use clock::{Clock, ManualClock, RELATIME_AGE, SystemClock, Timestamp};
pub use error::{Error, ErrorClass, Result};
pub use ids::{
    BootNumber, ClientId, ClusterId, ColumnId, ColumnIndex, DataNumber, DataVersion, FileEpoch,
    Floor, Generation, GroupId, Ino, InstanceId, ParseIdError, ReplicaSetId, RequestNumber,
    ServiceId, SessionId, SetEpoch, TargetId, VolumeId,
};
pub use layout::{ByteRange, ColumnRange, LayoutError, StripeLayout};

/// Version of the wire protocol. Another one is refused with [`Error::WrongProtocol`].
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Largest file size: offsets are signed on POSIX systems.
pub const FILE_SIZE_MAX: u64 = i64::MAX as u64;
