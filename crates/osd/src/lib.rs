//! xtfs-osd: keeps the columns of files on its storage targets, checks them and serves them.

mod admission;
mod budget;
mod capabilities;
mod config;
mod connections;
mod daemon;
mod io;
mod maintenance;
mod metrics;
mod ops;
mod options;
mod osd;
mod raw;
mod request;
mod service;
mod status;
pub mod store;
mod target;
mod workers;

pub use config::Config;
pub use daemon::{Daemon, SERVICE, Targets, serve, start};
pub use options::{Options, PROGRAM};
