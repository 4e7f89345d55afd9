//! A cluster of real processes, real mounts, and the faults that befall them. For tests only.
//!
//! Start reading at [`Cluster`].

pub mod campaign;
mod cluster;
pub mod coherence;
mod daemon;
pub mod errand;
mod eventually;
pub mod exerciser;
mod ganesha;
pub mod handle;
pub mod linear;
pub mod lock;
pub mod locker;
pub mod mapping;
mod mount;
pub mod nfs;
mod programs;
mod session;
pub mod tree;

pub use cluster::{Cluster, OsdOptions};
pub use daemon::Daemon;
pub use eventually::{eventually, eventually_within};
pub use ganesha::Ganesha;
pub use mount::Mount;
pub use programs::{Ran, fuse_or_skip, program, run};
pub use session::Session;
