//! The kernel's requests, one method each: take apart, call the client library, answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use xtfs_client::{
    Attributes, Caller, CreateNode, DirectoryEntry, FileKind, RenameFlags, SetAttr, Statfs,
    XattrMode,
};
use xtfs_core::{Error, Ino, Result};

use super::Shared;
use super::convert::{file_attr, file_type, node_kind, open_flags, set_time};
use super::directory::Listing;
use super::session;

/// Nothing is kept that another client could change.
const NOT_KEPT: Duration = Duration::ZERO;
/// Blocks that statfs(2) counts in.
const STATFS_BLOCK: u32 = 4096;

#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) shared: Arc<Shared>,
}

/// A reply of fuser that takes a `T` or an error.
trait Answer<T>: Send + 'static {
    fn answer(self, shared: &Shared, result: Result<T, Errno>);
}

/// An open file and how the kernel is to treat it.
struct Opened {
    number: u64,
    flags: FopenFlags,
}

/// An extended attribute, or a list of names, and how much of it the caller takes; zero: only its length.
struct Xattr {
    value: Bytes,
    size_max: u32,
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

    fn ino(&self, node: INodeNo) -> Ino {
        Ino(self.shared.swap_root(node.0))
    }
}

impl Shared {
    fn attr(&self, attributes: &Attributes) -> FileAttr {
        self.handles.seen(attributes);
        file_attr(self.swap_root(attributes.ino.0), attributes)
    }

    /// A look-up; of "." and ".." only for NFS handles, whose user has no right to be checked here.
    async fn lookup(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<Attributes> {
        match name {
            b"." => self.volume.getattr(&Caller::ROOT, parent).await,
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

    /// What a user wrote or cut is no program of its owner any more.
    async fn strip_privileges(&self, caller: &Caller, ino: Ino) -> Result<()> {
        let set = SetAttr { by_handle: true, kill_suid_sgid: true, ..SetAttr::default() };
        let attributes = self.volume.setattr(caller, ino, &set).await?;
        self.handles.seen(&attributes);
        Ok(())
    }

    /// Registers an open file and says how the kernel is to treat it.
    async fn opened(
        &self,
        caller: &Caller,
        file: Arc<xtfs_client::OpenFile>,
        flags: xtfs_client::OpenFlags,
    ) -> Result<Opened> {
        // fuser hides the kernel's wish. If it fails, the dropped file closes itself.
        if flags.truncate && caller.uid != 0 && self.handles.is_privileged(file.ino()) {
            self.strip_privileges(caller, file.ino()).await?;
        }
        let mut treat = FopenFlags::empty();
        if self.settings.direct_io {
            treat |= FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        }
        if !flags.write {
            // Nothing to flush.
            treat |= FopenFlags::FOPEN_NOFLUSH;
        }
        Ok(Opened { number: self.handles.add_file(file, flags.write), flags: treat })
    }

    async fn setattr(
        &self,
        caller: &Caller,
        ino: Ino,
        mut set: SetAttr,
        handle: Option<u64>,
    ) -> Result<Attributes> {
        if set.is_empty() {
            return self.volume.getattr(caller, ino).await;
        }
        // fuser hides whether the kernel wants suid and sgid cleared; the MRC does it by itself for a change of owner and
        // for a truncation by a user.
        set.by_handle = match handle {
            Some(number) => self.handles.file(number).is_ok_and(|handle| handle.write),
            None => false,
        };
        self.volume.setattr(caller, ino, &set).await
    }

    async fn write(&self, caller: &Caller, write: Write) -> Result<u32> {
        let len = u32::try_from(write.data.len()).map_err(|_| Error::FileTooLarge)?;
        let handle = self.handles.file(write.handle)?;
        if write.flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)
            && self.handles.is_privileged(write.ino)
        {
            self.strip_privileges(caller, write.ino).await?;
        }
        // Pages that were stored to through mmap belong where they are, whatever the flags of the handle.
        let from_cache = write.flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        if write.append && !from_cache {
            handle.file.append(write.data).await?;
        } else {
            handle.file.write(write.offset, write.data).await?;
        }
        Ok(len)
    }
}

struct Write {
    ino: Ino,
    handle: u64,
    offset: u64,
    append: bool,
    flags: WriteFlags,
    data: Bytes,
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        session::agree(config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (self.ino(parent), copied(name));
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
        self.serve(request, "getattr", reply, async move |shared: Arc<Shared>, caller| {
            shared.volume.getattr(&caller, ino).await
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
        let flags = open_flags(flags.0, self.shared.settings.sync);
        self.serve(request, "open", reply, async move |shared: Arc<Shared>, caller| {
            let file = shared.volume.open(&caller, ino, flags).await?;
            shared.opened(&caller, file, flags).await
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
        let flags = open_flags(flags, self.shared.settings.sync);
        self.serve(request, "create", reply, async move |shared: Arc<Shared>, caller| {
            let created = shared.volume.create(&caller, parent, &name, node, flags).await?;
            let (attributes, file) = created;
            shared.handles.seen(&attributes);
            Ok((attributes, shared.opened(&caller, file, flags).await?))
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
        ino: INodeNo,
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
            ino: self.ino(ino),
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
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.serve(request, "flush", reply, async move |shared: Arc<Shared>, _caller| {
            shared.handles.file(handle.0)?.file.flush().await
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
        self.serve(request, "release", reply, async move |shared: Arc<Shared>, _caller| {
            shared.handles.remove_file(handle.0)?.file.release().await
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
        self.serve(request, "opendir", reply, async move |shared: Arc<Shared>, _caller| {
            let number = shared.handles.add_directory(ino);
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

    /// Holes and preallocation are later work; said so, and not silently ignored.
    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}

fn copied(name: &OsStr) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// A reply that is filled entry by entry.
struct List<R> {
    shared: Arc<Shared>,
    reply: R,
}

/// A filled reply, and why there is no more in it.
struct Listed<R> {
    reply: R,
    result: Result<(), Errno>,
}

impl<R> List<R>
where
    Self: Listing,
{
    async fn fill(
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
                of.files.saturating_add(of.files_free),
                of.files_free,
                STATFS_BLOCK,
                of.name_max,
                STATFS_BLOCK,
            ),
            Err(errno) => self.error(errno),
        }
    }
}
