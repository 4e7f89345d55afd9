//! What requests come to: calls of the client library.

use std::sync::Arc;

use bytes::Bytes;
use fuser::{FileAttr, FopenFlags, WriteFlags};
use xtfs_client::{Attributes, Caller, SetAttr};
use xtfs_core::{Error, Ino, Result, Timestamp};

use super::Shared;
use super::answer::Opened;
use super::convert::file_attr;
use super::handles::OpenHandle;

pub(super) struct Write {
    pub(super) handle: u64,
    pub(super) offset: u64,
    pub(super) append: bool,
    pub(super) flags: WriteFlags,
    pub(super) data: Bytes,
}

impl Shared {
    pub(super) fn attr(&self, attributes: &Attributes) -> FileAttr {
        file_attr(self.swap_root(attributes.ino.0), attributes)
    }

    /// A look-up; of "." and ".." only for NFS handles, whose user has no right to be checked here.
    pub(super) async fn lookup(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
    ) -> Result<Attributes> {
        match name {
            b"." => {
                let attributes = self.volume.getattr(&Caller::ROOT, parent).await?;
                // The kernel asks only for what nobody on this mount has open: the handle is stale, though the MRC may
                // not have deleted the file yet.
                if attributes.nlink == 0 { Err(Error::NotFound) } else { Ok(attributes) }
            }
            b".." if parent == self.volume.root() => {
                self.volume.getattr(&Caller::ROOT, parent).await
            }
            b".." => {
                let page = self.volume.readdir(&Caller::ROOT, parent, 0, 1, false).await?;
                self.volume.getattr(&Caller::ROOT, page.parent).await
            }
            name => self.volume.lookup(caller, parent, name).await,
        }
    }

    /// A directory that is open and was removed still has attributes; the MRC does not hold it for us.
    pub(super) async fn getattr(&self, caller: &Caller, ino: Ino) -> Result<Attributes> {
        match self.volume.getattr(caller, ino).await {
            Err(err @ (Error::NotFound | Error::StaleHandle)) => {
                let open = self.handles.open_directory(ino).ok_or(err)?;
                Ok(Attributes { nlink: 0, ..open })
            }
            attributes => attributes,
        }
    }

    /// Registers an open file and says how the kernel is to treat it.
    pub(super) fn opened(
        &self,
        file: Arc<xtfs_client::OpenFile>,
        flags: xtfs_client::OpenFlags,
        append: bool,
    ) -> Opened {
        let mut treat = FopenFlags::empty();
        // By the page cache the kernel would send an append in parts, between which others append, and keep it where it
        // believes the end to be.
        if self.settings.direct_io || append {
            treat |= FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        } else if self.volume.data_is_current(file.ino()) {
            treat |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        Opened { number: self.handles.add_file(file, flags.write), flags: treat }
    }

    /// A handle that was opened for writing; the kernel checks it, too.
    pub(super) fn writable(&self, number: u64) -> Result<OpenHandle> {
        let handle = self.handles.file(number)?;
        if handle.write { Ok(handle) } else { Err(Error::StaleHandle) }
    }

    pub(super) async fn setattr(
        &self,
        caller: &Caller,
        ino: Ino,
        mut set: SetAttr,
        handle: Option<u64>,
    ) -> Result<Attributes> {
        if set.is_empty() {
            return self.getattr(caller, ino).await;
        }
        // fuser hides whether the kernel wants suid and sgid cleared; the MRC does it by itself for a change of owner and
        // for a truncation by a user.
        set.by_handle = match handle {
            Some(number) => self.handles.file(number).is_ok_and(|handle| handle.write),
            None => false,
        };
        let was_kept = self.volume.kept_attributes(ino).is_some();
        let mut attributes = self.volume.setattr(caller, ino, &set).await?;
        if !was_kept {
            // The kernel takes this mtime over without a look at its pages. Others may have written since it read them: the
            // next time that it asks it shall find another.
            attributes.mtime = Timestamp(attributes.mtime.0.wrapping_sub(1));
        }
        Ok(attributes)
    }

    pub(super) async fn write(&self, caller: &Caller, write: Write) -> Result<u32> {
        let len = u32::try_from(write.data.len()).map_err(|_| Error::FileTooLarge)?;
        let handle = self.handles.file(write.handle)?;
        // Pages that were stored to through mmap belong where they are, whatever the flags of the handle, and nobody
        // stands behind them.
        let from_cache = write.flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let privileged = !write.flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let file = &handle.file;
        let _strips = if from_cache { None } else { file.strips_set_ids(caller, privileged) };
        if write.append && !from_cache {
            file.append(write.data).await?;
        } else {
            file.write(write.offset, write.data).await?;
        }
        Ok(len)
    }
}
