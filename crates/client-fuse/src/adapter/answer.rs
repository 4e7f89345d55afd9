//! Answers to the kernel.

use std::time::Duration;

use bytes::Bytes;
use fuser::{
    Errno, FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use xtfs_client::{Attributes, Statfs};

use super::Shared;

/// For names and for what comes with them: the kernel drops names only under locks that a request may hold while it
/// waits for other clients, and these for us. It asks again, and is answered from what is kept here.
pub(super) const NOT_KEPT: Duration = Duration::ZERO;
/// Blocks that statfs(2) counts in.
const STATFS_BLOCK: u32 = 4096;

/// A reply of fuser that takes a `T` or an error.
pub(super) trait Answer<T>: Send + 'static {
    fn answer(self, shared: &Shared, result: Result<T, Errno>);
}

/// An open file and how the kernel is to treat it.
pub(super) struct Opened {
    pub(super) number: u64,
    pub(super) flags: FopenFlags,
}

/// An extended attribute, or a list of names, and how much of it the caller takes; zero: only its length.
pub(super) struct Xattr {
    pub(super) value: Bytes,
    pub(super) size_max: u32,
}

impl Answer<Attributes> for ReplyEntry {
    fn answer(self, shared: &Shared, result: Result<Attributes, Errno>) {
        match result {
            Ok(attributes) => {
                let generation = Generation(attributes.generation);
                self.entry(&NOT_KEPT, &shared.attr(&attributes), generation);
            }
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Attributes> for ReplyAttr {
    fn answer(self, shared: &Shared, result: Result<Attributes, Errno>) {
        match result {
            Ok(attributes) => self.attr(&NOT_KEPT, &shared.attr(&attributes)),
            Err(errno) => self.error(errno),
        }
    }
}

/// Attributes, and for how long the kernel may keep them.
impl Answer<(Attributes, Duration)> for ReplyAttr {
    fn answer(self, shared: &Shared, result: Result<(Attributes, Duration), Errno>) {
        match result {
            Ok((attributes, kept_for)) => self.attr(&kept_for, &shared.attr(&attributes)),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<(Attributes, Opened)> for ReplyCreate {
    fn answer(self, shared: &Shared, result: Result<(Attributes, Opened), Errno>) {
        match result {
            Ok((attributes, opened)) => {
                let attr = shared.attr(&attributes);
                let generation = Generation(attributes.generation);
                let handle = FileHandle(opened.number);
                self.created(&NOT_KEPT, &attr, generation, handle, opened.flags);
            }
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Opened> for ReplyOpen {
    fn answer(self, _shared: &Shared, result: Result<Opened, Errno>) {
        match result {
            Ok(opened) => self.opened(FileHandle(opened.number), opened.flags),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Bytes> for ReplyData {
    fn answer(self, _shared: &Shared, result: Result<Bytes, Errno>) {
        match result {
            Ok(data) => self.data(&data),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<u32> for ReplyWrite {
    fn answer(self, _shared: &Shared, result: Result<u32, Errno>) {
        match result {
            Ok(len) => self.written(len),
            Err(errno) => self.error(errno),
        }
    }
}

/// No place: the offset is not in the file, or nothing follows.
impl Answer<Option<u64>> for ReplyLseek {
    fn answer(self, _shared: &Shared, result: Result<Option<u64>, Errno>) {
        match result.map(|place| place.and_then(|place| i64::try_from(place).ok())) {
            Ok(Some(place)) => self.offset(place),
            Ok(None) => self.error(Errno::ENXIO),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<()> for ReplyEmpty {
    fn answer(self, _shared: &Shared, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Xattr> for ReplyXattr {
    fn answer(self, _shared: &Shared, result: Result<Xattr, Errno>) {
        match result {
            Ok(Xattr { value, size_max }) => match u32::try_from(value.len()) {
                Ok(len) if size_max == 0 => self.size(len),
                Ok(len) if len <= size_max => self.data(&value),
                _ => self.error(Errno::ERANGE),
            },
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Statfs> for ReplyStatfs {
    fn answer(self, _shared: &Shared, result: Result<Statfs, Errno>) {
        let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK);
        match result {
            Ok(of) => self.statfs(
                blocks(of.total_bytes),
                blocks(of.free_bytes),
                blocks(of.available_bytes),
                of.files,
                of.files_free,
                STATFS_BLOCK,
                of.name_max,
                STATFS_BLOCK,
            ),
            Err(errno) => self.error(errno),
        }
    }
}
