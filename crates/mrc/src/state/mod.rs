//! The replicated state of an MRC: commands change it, reads look at it.

pub mod command;
pub mod inode;
pub mod numbers;
pub mod session;
pub mod volume;

pub use command::{Action, Answer, Command, Origin, Reply};
pub use inode::{Attributes, FileKind, Inode, Layout};
pub use numbers::Numbers;
pub use session::Session;
pub use volume::{Volume, VolumePolicy};
