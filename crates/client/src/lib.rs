//! The filesystem as a library: namespace, striped IO, retry, sessions. Knows nothing of FUSE.

mod admin;
mod attributes;
mod file;
mod layout;
mod spec;
mod volume;

pub use admin::{
    Admin, DamagedColumn, HeldColumn, MrcLoad, NewVolume, ScanPage, ScannedInode, VolumeInfo,
};
pub use attributes::{
    Attributes, DirectoryEntry, DirectoryPage, FileKind, SetAttr, SetTime, Statfs,
};
pub use file::{OpenFile, OpenFlags};
pub use layout::{FileLayout, Member, ReplicaSet, Where};
pub use spec::{MountSpec, Options, SpecError};
pub use volume::{Client, CreateNode, RenameFlags, Volume, XattrMode};
pub use xtfs_proto::Caller;
