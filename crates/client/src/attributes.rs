//! What the MRC says of an inode, as types of ours.

use bytes::Bytes;
use xtfs_core::{Error, Ino, Result, Timestamp};
use xtfs_proto::v1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub ino: Ino,
    pub generation: u64,
    pub kind: FileKind,
    /// Permission bits with suid, sgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    /// Bytes on the disks of OSDs.
    pub allocated: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// Grows with every change of the inode.
    pub change: u64,
    pub rdev: u32,
    /// Bytes; zero if it has no data.
    pub stripe_size: u32,
}

/// What a change of attributes changes. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    /// The caller holds the inode open for writing, so that its permission was checked at open.
    pub by_handle: bool,
    /// The kernel asks that suid and sgid are cleared.
    pub kill_suid_sgid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: Bytes,
    pub ino: Ino,
    pub kind: FileKind,
    /// Stable under concurrent change: where to go on after this entry.
    pub cookie: u64,
    /// Only if they were asked for, and the inode is still there.
    pub attributes: Option<Attributes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPage {
    pub entries: Vec<DirectoryEntry>,
    /// Nothing comes after these.
    pub end: bool,
    /// Of the directory itself, for "..".
    pub parent: Ino,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statfs {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// What a new file can take.
    pub available_bytes: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u32,
}

impl FileKind {
    pub(crate) fn from_wire(kind: v1::FileKind) -> Result<Self> {
        Ok(match kind {
            v1::FileKind::File => FileKind::File,
            v1::FileKind::Directory => FileKind::Directory,
            v1::FileKind::Symlink => FileKind::Symlink,
            v1::FileKind::Fifo => FileKind::Fifo,
            v1::FileKind::Socket => FileKind::Socket,
            v1::FileKind::CharDevice => FileKind::CharDevice,
            v1::FileKind::BlockDevice => FileKind::BlockDevice,
            v1::FileKind::Unspecified => {
                return Err(Error::WrongProtocol("an inode of an unknown kind".into()));
            }
        })
    }

    pub(crate) fn to_wire(self) -> v1::FileKind {
        match self {
            FileKind::File => v1::FileKind::File,
            FileKind::Directory => v1::FileKind::Directory,
            FileKind::Symlink => v1::FileKind::Symlink,
            FileKind::Fifo => v1::FileKind::Fifo,
            FileKind::Socket => v1::FileKind::Socket,
            FileKind::CharDevice => v1::FileKind::CharDevice,
            FileKind::BlockDevice => v1::FileKind::BlockDevice,
        }
    }
}

impl TryFrom<v1::Attributes> for Attributes {
    type Error = Error;

    fn try_from(wire: v1::Attributes) -> Result<Self> {
        Ok(Attributes {
            kind: FileKind::from_wire(wire.kind())?,
            ino: Ino(wire.ino),
            generation: wire.generation,
            mode: wire.mode,
            uid: wire.uid,
            gid: wire.gid,
            nlink: wire.nlink,
            size: wire.size,
            allocated: wire.allocated,
            atime: Timestamp(wire.atime_ns),
            mtime: Timestamp(wire.mtime_ns),
            ctime: Timestamp(wire.ctime_ns),
            btime: Timestamp(wire.btime_ns),
            change: wire.change,
            rdev: wire.rdev,
            stripe_size: wire.stripe_size,
        })
    }
}

/// Attributes that a reply must have.
pub(crate) fn required(wire: Option<v1::Attributes>) -> Result<Attributes> {
    wire.ok_or_else(|| Error::WrongProtocol("a reply without attributes".into()))?.try_into()
}

impl TryFrom<v1::DirectoryEntry> for DirectoryEntry {
    type Error = Error;

    fn try_from(wire: v1::DirectoryEntry) -> Result<Self> {
        Ok(DirectoryEntry {
            kind: FileKind::from_wire(wire.kind())?,
            name: wire.name,
            ino: Ino(wire.ino),
            cookie: wire.cookie,
            attributes: wire.attributes.map(Attributes::try_from).transpose()?,
        })
    }
}

impl TryFrom<v1::ReadDirReply> for DirectoryPage {
    type Error = Error;

    fn try_from(wire: v1::ReadDirReply) -> Result<Self> {
        let entries = wire.entries.into_iter().map(DirectoryEntry::try_from);
        Ok(DirectoryPage {
            entries: entries.collect::<Result<_>>()?,
            end: wire.end,
            parent: Ino(wire.parent),
        })
    }
}

impl From<v1::StatfsReply> for Statfs {
    fn from(wire: v1::StatfsReply) -> Self {
        Statfs {
            total_bytes: wire.total_bytes,
            free_bytes: wire.free_bytes,
            available_bytes: wire.available_bytes,
            files: wire.files,
            files_free: wire.files_free,
            name_max: wire.name_max,
        }
    }
}

impl SetAttr {
    /// Whether anything but times and the kernel's wish to clear suid changes.
    pub fn is_empty(&self) -> bool {
        *self == SetAttr { by_handle: self.by_handle, ..SetAttr::default() }
    }

    pub(crate) fn to_wire(&self, volume: u64, ino: Ino) -> v1::SetAttrRequest {
        let instant = |time: Option<SetTime>| match time {
            Some(SetTime::At(at)) => Some(at.0),
            Some(SetTime::Now) | None => None,
        };
        v1::SetAttrRequest {
            header: None,
            volume,
            ino: ino.0,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            atime_ns: instant(self.atime),
            atime_now: self.atime == Some(SetTime::Now),
            mtime_ns: instant(self.mtime),
            mtime_now: self.mtime == Some(SetTime::Now),
            report: None,
            by_handle: self.by_handle,
            kill_suid_sgid: self.kill_suid_sgid,
        }
    }
}
