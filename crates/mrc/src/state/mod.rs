//! The replicated state of an MRC: commands change it, reads look at it.

mod change;
pub mod command;
pub mod inode;
mod keys;
pub mod lock;
mod machine;
pub mod numbers;
mod ops;
mod rows;
pub mod session;
#[cfg(test)]
mod tests;
pub mod view;
pub mod volume;

pub use command::{Action, Answer, Command, Origin, Reply};
pub use inode::{Attributes, FileKind, Inode, Layout};
pub use lock::{HeldLock, LockKind, LockOwner, LockRange, LockTable};
pub use machine::MrcState;
pub use numbers::Numbers;
pub use ops::{LINKS_MAX, TARGET_MAX};
pub use session::Session;
pub use view::{View, VolumeView};
pub use volume::{Volume, VolumePolicy};
