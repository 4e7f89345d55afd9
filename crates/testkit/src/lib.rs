//! A cluster of real processes, real mounts, and the faults that befall them. For tests only.
//!
//! Start reading at [`Cluster`].

pub mod campaign;
mod cluster;
mod daemon;
mod eventually;
pub mod exerciser;
pub mod lock;
mod mount;
mod programs;
mod session;
pub mod tree;

pub use cluster::{Cluster, OsdOptions};
pub use daemon::Daemon;
pub use eventually::{eventually, eventually_within};
pub use mount::Mount;
pub use programs::{Ran, fuse_or_skip, program, run};
pub use session::Session;
