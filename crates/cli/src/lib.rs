//! The tools: `xtfs`, `mkfs.xtfs`, `lsfs.xtfs`, `rmfs.xtfs`, `xtfsutil`. Each is a module with its `main`.

mod address;
mod findings;
mod fsck;
mod health;
pub mod lsfs;
pub mod mkfs;
mod mounted;
mod mrc;
mod osd;
mod outcome;
mod output;
pub mod rmfs;
mod status;
mod up;
mod users;
mod volume;
mod where_file;
pub mod xtfs;
pub mod xtfsutil;

/// Command lines of all tools, for the manual and completions.
pub fn commands() -> Vec<clap::Command> {
    vec![xtfs::command(), mkfs::command(), lsfs::command(), rmfs::command(), xtfsutil::command()]
}
