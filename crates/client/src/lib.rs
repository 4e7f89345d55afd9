//! The filesystem as a library: namespace, striped IO, retry, sessions. Knows nothing of FUSE.

mod admin;
mod append;
mod attributes;
mod cache;
mod closes;
mod cluster;
mod connect;
mod copy;
mod dirty;
mod file;
mod file_state;
mod holes;
mod io;
mod kept;
mod layout;
mod lease;
mod local_open;
mod locks;
mod method;
mod mount;
mod mrc;
mod mrc_clock;
mod osd_link;
mod osds;
mod owed;
mod positions;
mod reads;
mod recalls;
mod report;
mod retry;
mod seek;
mod session;
mod set_ids;
mod spec;
mod stripes;
mod syncer;
mod unsynced;
mod volume;
mod write_behind;

pub use admin::{
    Admin, DamagedColumn, HeldColumn, MrcLoad, NewVolume, ScanPage, ScannedInode, VolumeInfo,
};
pub use attributes::{
    Attributes, DirectoryEntry, DirectoryPage, FileKind, SetAttr, SetTime, Statfs,
};
pub use connect::Client;
pub use file::{OpenFile, OpenFlags};
pub use holes::Reshape;
pub use layout::{FileLayout, Member, ReplicaSet, Where};
pub use locks::{FileLock, LockGrant, LockKind, LockOwner, LockTicket};
pub use recalls::{Forget, OnForget};
pub use seek::Seek;
pub use set_ids::Strips;
pub use spec::{MountSpec, Options, SpecError};
pub use volume::{CreateNode, RenameFlags, Volume, XattrMode};
pub use xtfs_proto::Caller;
