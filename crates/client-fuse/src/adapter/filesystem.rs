//! The kernel's requests, one method each: take apart, call the client library, answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, INodeNo,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use xtfs_client::{Caller, CreateNode, RenameFlags, Seek, SetAttr, XattrMode};
use xtfs_core::{Error, Ino, Result};

use super::answer::{Answer, NOT_KEPT, Opened, Xattr};
use super::convert::{node_kind, open_flags, reshape, set_time};
use super::listing::{List, Listed};
use super::locks::SetLock;
use super::request::Write;
use super::session;
use super::{Judge, Shared};

/// R_OK of access(2).
const MAY_READ: u32 = 4;

#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) shared: Arc<Shared>,
}

impl Adapter {
    /// Hands a request over to a task of the runtime, which answers it.
    fn serve<T, R, F, Act>(&self, request: &Request, operation: &'static str, reply: R, act: F)
    where
        T: Send + 'static,
        R: Answer<T>,
        F: FnOnce(Arc<Shared>, Caller) -> Act + Send + 'static,
        Act: Future<Output = Result<T>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        let who = (request.uid(), request.gid(), request.pid());
        let task = async move {
            let caller = shared.callers.caller(who);
            let result = act(Arc::clone(&shared), caller.clone()).await;
            let result = result.map_err(|error| shared.errno(operation, &caller, &error));
            reply.answer(&shared, result);
        };
        self.shared.tasks.spawn_on(task, &self.shared.runtime);
    }

    /// What is kept for requests that the kernel has judged; if it does not judge, the caller's rights are looked at.
    fn judged<T>(&self, kept: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.shared.settings.judge == Judge::Both { kept() } else { None }
    }

    fn ino(&self, node: INodeNo) -> Ino {
        Ino(self.shared.swap_root(node.0))
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        session::agree(config, self.shared.settings.judge);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = self.ino(parent);
        // The kernel has judged whether the directory may be searched, with what it was told of it under the same lease.
        if let Some(kept) = self.judged(|| self.shared.volume.kept_name(parent, name.as_bytes())) {
            let kept = kept.map_err(|error| fuser::Errno::from_i32(error.errno()));
            return reply.answer(&self.shared, kept);
        }
        let name = copied(name);
        self.serve(request, "lookup", reply, async move |shared: Arc<Shared>, caller| {
            shared.lookup(&caller, parent, &name).await
        });
    }

    fn getattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let ino = self.ino(ino);
        if let Some(kept) = self.shared.volume.kept_attributes(ino) {
            return reply.answer(&self.shared, Ok(kept));
        }
        self.serve(request, "getattr", reply, async move |shared: Arc<Shared>, caller| {
            let attributes = shared.getattr(&caller, ino).await?;
            // Not for longer than the very attributes that are answered are kept. The kernel takes none that it was told to
            // drop since it asked.
            Ok(shared.volume.kept_attributes(ino).unwrap_or((attributes, NOT_KEPT)))
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let ino = self.ino(ino);
        let set = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ..SetAttr::default()
        };
        self.serve(request, "setattr", reply, async move |shared: Arc<Shared>, caller| {
            shared.setattr(&caller, ino, set, handle.map(|handle| handle.0)).await
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let ino = self.ino(ino);
        self.serve(request, "readlink", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.readlink(&caller, ino).await
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (parent, name) = (self.ino(parent), copied(name));
        self.serve(request, "mknod", reply, async move |shared: Arc<Shared>, caller| {
            let kind = node_kind(mode).ok_or_else(|| Error::Invalid("kind of node".into()))?;
            let node = CreateNode { mode: mode & 0o7777, umask };
            shared.volume.mknod(&caller, parent, &name, kind, node, rdev).await
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (parent, name) = (self.ino(parent), copied(name));
        let node = CreateNode { mode: mode & 0o7777, umask };
        self.serve(request, "mkdir", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.mkdir(&caller, parent, &name, node).await
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (self.ino(parent), copied(name));
        self.serve(request, "unlink", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.unlink(&caller, parent, &name).await
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (self.ino(parent), copied(name));
        self.serve(request, "rmdir", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.rmdir(&caller, parent, &name).await
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (parent, name) = (self.ino(parent), copied(name));
        let target = copied(target.as_os_str());
        self.serve(request, "symlink", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.symlink(&caller, parent, &name, &target).await
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (parent, name) = (self.ino(parent), copied(name));
        let (new_parent, new_name) = (self.ino(new_parent), copied(new_name));
        self.serve(request, "rename", reply, async move |shared: Arc<Shared>, caller| {
            let no_replace = flags.contains(fuser::RenameFlags::RENAME_NOREPLACE);
            let exchange = flags.contains(fuser::RenameFlags::RENAME_EXCHANGE);
            let known = RenameFlags { no_replace, exchange };
            if flags.contains(fuser::RenameFlags::RENAME_WHITEOUT) || (no_replace && exchange) {
                return Err(Error::Invalid("flags of rename".into()));
            }
            shared.volume.rename(&caller, (parent, &name), (new_parent, &new_name), known).await
        });
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (ino, parent, name) = (self.ino(ino), self.ino(parent), copied(name));
        self.serve(request, "link", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.link(&caller, ino, parent, &name).await
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let ino = self.ino(ino);
        let append = flags.0 & libc::O_APPEND != 0;
        let flags = open_flags(flags.0, self.shared.settings.sync);
        if let Some(file) = self.judged(|| self.shared.volume.open_kept(ino, flags)) {
            return reply.answer(&self.shared, Ok(self.shared.opened(file, flags, append)));
        }
        self.serve(request, "open", reply, async move |shared: Arc<Shared>, caller| {
            let file = shared.volume.open(&caller, ino, flags).await?;
            Ok(shared.opened(file, flags, append))
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (parent, name) = (self.ino(parent), copied(name));
        let node = CreateNode { mode: mode & 0o7777, umask };
        let append = flags & libc::O_APPEND != 0;
        let flags = open_flags(flags, self.shared.settings.sync);
        self.serve(request, "create", reply, async move |shared: Arc<Shared>, caller| {
            let created = shared.volume.create(&caller, parent, &name, node, flags).await?;
            let (attributes, file) = created;
            Ok((attributes, shared.opened(file, flags, append)))
        });
    }

    fn read(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(request, "read", reply, async move |shared: Arc<Shared>, _caller| {
            let handle = shared.handles.file(handle.0)?;
            // Never closed.
            let _budget = shared.reads.acquire_many(size).await;
            handle.file.read(offset, size).await
        });
    }

    fn write(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let shared = &self.shared;
        // A write fits into the budget: the kernel was told how large it may be.
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let budget = match Arc::clone(&shared.writes).try_acquire_many_owned(len) {
            Ok(budget) => Ok(budget),
            // Too much is under way to copy even more: the kernel waits with us, which slows the writers down.
            Err(_) => shared.runtime.block_on(Arc::clone(&shared.writes).acquire_many_owned(len)),
        };
        let write = Write {
            handle: handle.0,
            offset,
            append: flags.0 & libc::O_APPEND != 0,
            flags: write_flags,
            data: Bytes::copy_from_slice(data),
        };
        self.serve(request, "write", reply, async move |shared: Arc<Shared>, caller| {
            let _budget = budget;
            shared.write(&caller, write).await
        });
    }

    fn flush(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if self.shared.handles.file(handle.0).is_ok_and(|handle| handle.file.is_idle()) {
            return reply.ok();
        }
        self.serve(request, "flush", reply, async move |shared: Arc<Shared>, _caller| {
            let file = shared.handles.file(handle.0)?.file;
            let flushed = file.flush().await;
            // Any close by a process drops its locks, also one that fails.
            file.unlock_all(xtfs_client::LockOwner(lock_owner.0)).await;
            flushed
        });
    }

    fn release(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // Before the next request is looked at: the kernel may give the owner's name to another file right away.
        let handle = self.shared.handles.remove_file(handle.0);
        if handle.as_ref().is_ok_and(|handle| handle.file.is_idle()) {
            drop(handle);
            return reply.ok();
        }
        let released = handle.map(|handle| handle.file.release());
        self.serve(request, "release", reply, async move |_shared: Arc<Shared>, _caller| {
            released?.await
        });
    }

    fn getlk(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let (owner, task) = (xtfs_client::LockOwner(lock_owner.0), request.pid());
        let handle = handle.0;
        let test = SetLock { handle, owner, start, end, kind: typ, pid, task, wait: false };
        self.serve(request, "getlk", reply, async move |shared: Arc<Shared>, _caller| {
            shared.test_lock(test).await
        });
    }

    fn setlk(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let (owner, task) = (xtfs_client::LockOwner(lock_owner.0), request.pid());
        let handle = handle.0;
        let set = SetLock { handle, owner, start, end, kind: typ, pid, task, wait: sleep };
        self.serve(request, "setlk", reply, async move |shared: Arc<Shared>, _caller| {
            shared.set_lock(set).await
        });
    }

    fn fsync(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(request, "fsync", reply, async move |shared: Arc<Shared>, _caller| {
            shared.handles.file(handle.0)?.file.fsync(datasync).await
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let ino = self.ino(ino);
        if let Some((attributes, _)) = self.judged(|| self.shared.volume.kept_attributes(ino)) {
            let number = self.shared.handles.add_directory(attributes);
            return reply.answer(&self.shared, Ok(Opened { number, flags: FopenFlags::empty() }));
        }
        self.serve(request, "opendir", reply, async move |shared: Arc<Shared>, caller| {
            // Who has opened it may list it, whatever becomes of its mode.
            let root = Caller::ROOT;
            let (_, attributes) = tokio::try_join!(
                shared.volume.access(&caller, ino, MAY_READ),
                shared.volume.getattr(&root, ino),
            )?;
            let number = shared.handles.add_directory(attributes);
            Ok(Opened { number, flags: FopenFlags::empty() })
        });
    }

    fn readdir(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let mut list = List { shared: Arc::clone(&self.shared), reply };
        let act = async move |shared: Arc<Shared>, caller: Caller| {
            let result = list.fill(&shared, &caller, handle, offset).await;
            let result = result.map_err(|error| shared.errno("readdir", &caller, &error));
            Ok(Listed { reply: list.reply, result })
        };
        self.serve(request, "readdir", (), act);
    }

    fn readdirplus(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let mut list = List { shared: Arc::clone(&self.shared), reply };
        let act = async move |shared: Arc<Shared>, caller: Caller| {
            let result = list.fill(&shared, &caller, handle, offset).await;
            let result = result.map_err(|error| shared.errno("readdirplus", &caller, &error));
            Ok(Listed { reply: list.reply, result })
        };
        self.serve(request, "readdirplus", (), act);
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shared.handles.remove_directory(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(request, "fsyncdir", reply, async move |shared: Arc<Shared>, _caller| {
            shared.volume.sync_metadata().await
        });
    }

    fn statfs(&self, request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.serve(request, "statfs", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.statfs(&caller).await
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (ino, name, value) = (self.ino(ino), copied(name), Bytes::copy_from_slice(value));
        self.serve(request, "setxattr", reply, async move |shared: Arc<Shared>, caller| {
            let mode = match flags {
                0 => XattrMode::Any,
                libc::XATTR_CREATE => XattrMode::Create,
                libc::XATTR_REPLACE => XattrMode::Replace,
                _ => return Err(Error::Invalid("flags of setxattr".into())),
            };
            shared.volume.setxattr(&caller, ino, &name, &value, mode).await
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let (ino, name) = (self.ino(ino), copied(name));
        let kept = self.shared.volume.kept_system_xattr(ino, &name);
        if let Some(kept) = kept {
            let kept = kept.map(|value| Xattr { value, size_max: size });
            let kept = kept.map_err(|error| fuser::Errno::from_i32(error.errno()));
            return reply.answer(&self.shared, kept);
        }
        self.serve(request, "getxattr", reply, async move |shared: Arc<Shared>, caller| {
            let value = shared.volume.getxattr(&caller, ino, &name).await?;
            Ok(Xattr { value, size_max: size })
        });
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let ino = self.ino(ino);
        self.serve(request, "listxattr", reply, async move |shared: Arc<Shared>, caller| {
            let mut names = Vec::new();
            for name in shared.volume.listxattr(&caller, ino).await? {
                names.extend_from_slice(&name);
                names.push(0);
            }
            Ok(Xattr { value: names.into(), size_max: size })
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (ino, name) = (self.ino(ino), copied(name));
        self.serve(request, "removexattr", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.removexattr(&caller, ino, &name).await
        });
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let ino = self.ino(ino);
        self.serve(request, "access", reply, async move |shared: Arc<Shared>, caller| {
            let mask = u32::try_from(mask.bits()).unwrap_or(0);
            shared.volume.access(&caller, ino, mask).await
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.serve(request, "fallocate", reply, async move |shared: Arc<Shared>, caller| {
            let reshape = reshape(mode)
                .ok_or_else(|| Error::NotSupported(format!("mode {mode:#x} of fallocate")))?;
            let handle = shared.writable(handle.0)?;
            let _strips = handle.file.strips_set_ids(&caller, caller.uid == 0);
            handle.file.reshape(reshape, offset, length).await
        });
    }

    fn lseek(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve(request, "lseek", reply, async move |shared: Arc<Shared>, _caller| {
            let to = match whence {
                libc::SEEK_DATA => Seek::Data,
                libc::SEEK_HOLE => Seek::Hole,
                _ => return Err(Error::Invalid("whence of lseek".into())),
            };
            // Before the start there is no data either.
            let Ok(offset) = u64::try_from(offset) else { return Ok(None) };
            shared.handles.file(handle.0)?.file.seek(offset, to).await
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _ino_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.serve(request, "copy_file_range", reply, async move |shared: Arc<Shared>, caller| {
            if !flags.is_empty() {
                return Err(Error::Invalid("flags of copy_file_range".into()));
            }
            let source = shared.handles.file(handle_in.0)?;
            let target = shared.writable(handle_out.0)?;
            let _strips = target.file.strips_set_ids(&caller, caller.uid == 0);
            let copied =
                source.file.copy_range(offset_in, &target.file, offset_out, length).await?;
            u32::try_from(copied).map_err(|_| Error::Internal(format!("copied {copied} bytes")))
        });
    }
}

fn copied(name: &OsStr) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}
