//! Random operations on a file system, on one or several of its mounts, beside a model in memory: every result and
//! every error number must be the same.
//!
//! `Runner` draws an operation, asks the `Model` and the `System` for its outcome, and compares. `alternating` has
//! processes of several mounts take turns on one file, `locking` has them lock ranges.

mod alternating;
pub(crate) mod calls;
mod draw;
mod fault;
mod locked;
mod locking;
mod model;
mod op;
mod runner;
mod system;

pub use alternating::{Turns, take_turns};
pub use fault::{FAULTS, Fault};
pub use locking::{LockFault, LockPlan, exercise_locks};
pub use runner::{Plan, run};
