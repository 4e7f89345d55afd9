//! Whether what several mounts did at once can be put in one order.
//!
//! Threads of one process per mount make random calls on a handful of names and files, and note when each call began,
//! when it ended, and with what (`record`). A history is split into files and directories (`split`); for each, an order
//! is sought in which no call comes before one that had ended when it began, and in which one file system that does one
//! call after the other would have answered the same (`search`, with `file` and `directory` as that file system). Where
//! there is none, somebody has seen something stale, torn or lost.

mod directory;
mod file;
mod history;
mod kernel;
#[cfg(test)]
mod memory;
mod record;
mod report;
mod search;
mod split;
mod verdict;

pub use history::{Call, History};
pub use kernel::{Kernel, make_folders};
pub(crate) use record::now;
pub use record::{Mix, Plan, record};
pub use report::Rejection;
pub use verdict::verdict;
