//! xtfs-mrc: volumes, namespace, layouts, capabilities, replica sets, sessions.

mod appenders;
pub mod capacity;
pub mod config;
mod daemon;
mod encode;
pub mod expiry;
pub mod extent;
mod leases;
mod machine;
mod mrc;
mod ops;
mod options;
mod osds;
pub mod placement;
pub mod service;
mod sets;
pub mod state;
mod time;
mod waiters;
mod workers;

pub use config::Config;
pub use daemon::{PROGRAM, Running, SERVICE, start};
pub use mrc::{GRANT_EXPIRY, Mrc};
pub use options::Options;
