//! Listings of a directory, as the kernel takes them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{Errno, FileHandle, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use xtfs_client::{Attributes, Caller, DirectoryEntry, FileKind};
use xtfs_core::{Ino, Result};

use super::Shared;
use super::answer::{Answer, NOT_KEPT};
use super::convert::file_type;
use super::directory::Listing;

/// A reply that is filled entry by entry.
pub(super) struct List<R> {
    pub(super) shared: Arc<Shared>,
    pub(super) reply: R,
}

/// A filled reply, and why there is no more in it.
pub(super) struct Listed<R> {
    pub(super) reply: R,
    pub(super) result: Result<(), Errno>,
}

impl<R> List<R>
where
    Self: Listing,
{
    pub(super) async fn fill(
        &mut self,
        shared: &Shared,
        caller: &Caller,
        handle: FileHandle,
        offset: u64,
    ) -> Result<()> {
        let directory = shared.handles.directory(handle.0)?;
        directory.list(&shared.volume, caller, offset, self).await
    }
}

impl Listing for List<ReplyDirectory> {
    const PLUS: bool = false;

    fn dot(&mut self, ino: Ino, offset: u64, name: &str) -> bool {
        let ino = INodeNo(self.shared.swap_root(ino.0));
        self.reply.add(ino, offset, fuser::FileType::Directory, name)
    }

    fn entry(&mut self, entry: &DirectoryEntry, offset: u64) -> bool {
        let ino = INodeNo(self.shared.swap_root(entry.ino.0));
        self.reply.add(ino, offset, file_type(entry.kind), OsStr::from_bytes(&entry.name))
    }
}

impl Listing for List<ReplyDirectoryPlus> {
    const PLUS: bool = true;

    fn dot(&mut self, ino: Ino, offset: u64, name: &str) -> bool {
        // The kernel takes only number and kind.
        let attributes = Attributes {
            ino,
            generation: 0,
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            nlink: 2,
            size: 0,
            allocated: 0,
            atime: xtfs_core::Timestamp(0),
            mtime: xtfs_core::Timestamp(0),
            ctime: xtfs_core::Timestamp(0),
            btime: xtfs_core::Timestamp(0),
            change: 0,
            rdev: 0,
            stripe_size: 0,
        };
        let attr = self.shared.attr(&attributes);
        self.reply.add(attr.ino, offset, name, &NOT_KEPT, &attr, Generation(0))
    }

    fn entry(&mut self, entry: &DirectoryEntry, offset: u64) -> bool {
        // Gone since the page was made.
        let Some(attributes) = &entry.attributes else { return false };
        let attr = self.shared.attr(attributes);
        let name = OsStr::from_bytes(&entry.name);
        let generation = Generation(attributes.generation);
        self.reply.add(attr.ino, offset, name, &NOT_KEPT, &attr, generation)
    }
}

impl Answer<Listed<ReplyDirectory>> for () {
    fn answer(self, _shared: &Shared, listed: Result<Listed<ReplyDirectory>, Errno>) {
        match listed {
            Ok(Listed { reply, result: Ok(()) }) => reply.ok(),
            Ok(Listed { reply, result: Err(errno) }) => reply.error(errno),
            Err(_) => unreachable!("the listing carries its error"),
        }
    }
}

impl Answer<Listed<ReplyDirectoryPlus>> for () {
    fn answer(self, _shared: &Shared, listed: Result<Listed<ReplyDirectoryPlus>, Errno>) {
        match listed {
            Ok(Listed { reply, result: Ok(()) }) => reply.ok(),
            Ok(Listed { reply, result: Err(errno) }) => reply.error(errno),
            Err(_) => unreachable!("the listing carries its error"),
        }
    }
}
