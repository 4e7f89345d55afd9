//! Channels, servers and daemons: what lies between a service and the network.
//!
//! Transport of tonic is named here only, so that TLS and relays will have one place.

mod address;
mod connect;
pub mod daemon;
mod data_dir;
mod directory;
mod directory_watch;
mod failure;
mod listen;
mod metrics;
pub mod registration;
mod server;
mod service_list;

pub use address::{Address, AddressError, DIR_PORT, DirAddresses, MRC_PORT, OSD_PORT_FIRST};
pub use connect::{
    Connector, DirService, MESSAGE_BYTES_MAX, MrcService, OsdService, call, status_error,
};
pub use data_dir::{DataDir, Role, write_atomically};
pub use directory::Directory;
pub use directory_watch::{DirectoryWatch, WATCH_INTERVAL};
pub use failure::Failure;
pub use listen::{Listen, Ports};
pub use metrics::{Metrics, prometheus_client};
pub use server::{Health, REQUEST_DEADLINE_MAX, Server, Table, answer};
pub use service_list::{
    MrcRecord, ServiceList, TargetRecord, TargetState, VolumeRecord, addresses,
};
