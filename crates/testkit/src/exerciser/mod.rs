//! Random operations on a file system, on one or several of its mounts, beside a model in memory: every result and
//! every error number must be the same.
//!
//! `Runner` draws an operation, asks the `Model` and the `System` for its outcome, and compares.

mod draw;
mod fault;
mod locked;
mod model;
mod op;
mod runner;
mod system;

pub use fault::{FAULTS, Fault};
pub use runner::{Plan, run};
