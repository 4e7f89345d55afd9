//! One mount of one volume: the namespace.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use xtfs_core::access::{SGID, SUID, Wanted};
use xtfs_core::{Error, Ino, NAME_MAX, Result, StripeLayout};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, DirectoryPage, FileKind, SetAttr, Statfs, required};
use crate::cache::{Asked, Name, Table, described, known};
use crate::file::{OpenFile, OpenFlags};
use crate::kept::{Change, bare, gone, leads};
use crate::layout::Where;
use crate::method::{self, Method};
use crate::mount::Mount;
use crate::mrc::ITSELF;
use crate::recalls::{Forget, OnForget};

/// Entries that are asked for at once if they can be kept: most directories are whole then.
const KEPT_ENTRIES: u32 = 2048;

/// Every call is made for a caller, whose permissions the MRC checks. Each ends within
/// `Options::timeo`, or shortly after it.
#[derive(Debug)]
pub struct Volume {
    mount: Arc<Mount>,
    root: Ino,
    read_only: bool,
}

/// What a new node is like.
#[derive(Clone, Copy, Debug)]
pub struct CreateNode {
    pub mode: u32,
    pub umask: u32,
}

/// What setting an attribute does if it exists, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    Any,
    /// `XATTR_CREATE`: refuse if it exists.
    Create,
    /// `XATTR_REPLACE`: refuse if it does not.
    Replace,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RenameFlags {
    pub no_replace: bool,
    pub exchange: bool,
}

impl Volume {
    pub(crate) fn new(mount: Arc<Mount>, root: Ino, read_only: bool) -> Self {
        Volume { mount, root, read_only }
    }

    pub(crate) fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// Whom to tell of inodes that must not be kept any more, before the MRC hears that they are not. It may block.
    pub fn on_forget(&self, tell: OnForget) {
        self.mount.forgetting.tell_to(tell);
    }

    /// What is mounted: the volume's root, or the subdirectory.
    pub fn root(&self) -> Ino {
        self.root
    }

    /// The volume's policy when it was mounted: owners may give files away.
    pub fn chown_non_root(&self) -> bool {
        self.mount.mrc.chown_non_root()
    }

    pub async fn lookup(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<Attributes> {
        let name = checked(name)?;
        if let Some(kept) = self.kept_lookup(caller, parent, &name) {
            return kept;
        }
        let request = v1::LookupRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: name.clone(),
        };
        let asked = self.mount.asked();
        let mut reply = self.mount.mrc.ask::<method::Lookup>(caller, request).await?;
        let (log, cache) = (reply.log.as_ref(), &self.mount.cache);
        let directory = reply.known.pop().and_then(known);
        let Some(wire) = reply.attributes else {
            cache.learn_name(asked, log, directory, name, Name::Absent);
            return Err(Error::NotFound);
        };
        let attributes = required(Some(wire))?;
        let ino = attributes.ino;
        cache.learn_name(asked, log, directory, name, Name::Leads(ino));
        cache.learn(asked, log, described(Some(wire), reply.lease));
        self.current(caller, asked, attributes).await
    }

    /// Attributes that were answered, or newer ones if something of what is kept back was written meanwhile.
    async fn current(
        &self,
        caller: &Caller,
        asked: Asked,
        attributes: Attributes,
    ) -> Result<Attributes> {
        let ino = attributes.ino;
        match self.mount.cache.current(asked, attributes) {
            Some(attributes) => Ok(attributes),
            None => self.getattr(caller, ino).await,
        }
    }

    pub async fn getattr(&self, caller: &Caller, ino: Ino) -> Result<Attributes> {
        let file = self.mount.files.find(ino);
        self.mount.getattr(caller, ino, file.as_deref(), self.mount.deadline()).await
    }

    pub async fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attributes> {
        self.writable()?;
        let file = self.mount.files.find(ino);
        let deadline = self.mount.deadline();
        self.mount.flush_inode(ino, deadline).await?;
        // What is kept back from now on counts as written after this.
        let _kept = match &file {
            Some(file) => Some(file.alone_flushing(deadline).await?),
            None => None,
        };
        if set.mode.is_some_and(|mode| mode & (SUID | SGID) != 0)
            && let Some(file) = &file
            && let Err(err) = self.mount.sync_file(file, deadline).await
        {
            // The epoch may rise (R12), and what is kept of an older one could not be written again.
            tracing::warn!(%ino, %err, "sync a file that gets suid or sgid");
        }
        if set.atime.is_some() {
            self.mount.cache.with(|table| table.forget_read(ino));
        }
        let report = file.as_ref().and_then(|file| file.report.lock().to_wire());
        let request = v1::SetAttrRequest { report, ..set.to_wire(self.id(), ino) };
        let Some(size) = set.size else {
            return self.change_inode::<method::SetAttr>(caller, request, [ino], deadline).await;
        };
        // No write of ours may be on its way: it would be refused as one of an older epoch, and
        // be sent again with the new one, beyond the new end.
        let _alone = match &file {
            Some(file) => Some(file.alone(deadline).await?),
            None => None,
        };
        let attributes =
            self.change_inode::<method::SetAttr>(caller, request, [ino], deadline).await?;
        if let Some(file) = &file
            && let Some(old) = file.last_rights()
        {
            // The epoch has risen. A file that is not open any more cannot be written again.
            let renewed = self.mount.renew(file, false, old.renewals, deadline).await;
            let epoch = renewed.ok().flatten().map(|rights| rights.grant.file_epoch);
            self.mount.syncer.cut(&old.layout, self.mount.mrc.volume, size, epoch);
        }
        Ok(attributes)
    }

    /// A change that answers with an inode, of what is kept of these.
    async fn change_inode<M>(
        &self,
        caller: &Caller,
        request: M::Request,
        inos: impl IntoIterator<Item = Ino>,
        deadline: Instant,
    ) -> Result<Attributes>
    where
        M: Method<Reply = v1::InodeReply>,
    {
        let change = self.mount.change_of(inos);
        let reply = self.mount.mrc.change_once::<M>(caller, request, deadline).await;
        let (change, reply) = change.checked(reply)?;
        let mut attributes = required(reply.attributes)?;
        let inode = (attributes.ino, described(reply.attributes, reply.lease));
        change.done(reply.log.as_ref(), Some(inode), reply.known, |_| {});
        self.mount.cache.with(|table| table.add_kept_back(&mut attributes));
        Ok(attributes)
    }

    /// The same of one that puts a name into a directory.
    async fn make<M>(
        &self,
        caller: &Caller,
        request: M::Request,
        (parent, name): (Ino, Bytes),
    ) -> Result<Attributes>
    where
        M: Method<Reply = v1::InodeReply>,
    {
        let asked = self.mount.asked();
        let change = self.mount.change_of([parent]);
        let deadline = self.mount.deadline();
        let reply = self.mount.mrc.change_once::<M>(caller, request, deadline).await;
        let (change, reply) = change.checked(reply)?;
        let attributes = required(reply.attributes)?;
        let inode = (attributes.ino, described(reply.attributes, reply.lease));
        let fresh = attributes.kind == FileKind::Directory;
        let ino = attributes.ino;
        change.done(reply.log.as_ref(), Some(inode), reply.known, |table| {
            leads(parent, name, ino)(table);
            if fresh {
                table.is_empty(ino);
            }
        });
        self.current(caller, asked, attributes).await
    }

    /// A change that answers with nothing else than what it has changed.
    async fn change_done<M>(
        &self,
        change: Change<'_>,
        caller: &Caller,
        request: M::Request,
        then: impl FnOnce(&mut Table),
    ) -> Result<()>
    where
        M: Method<Reply = v1::DoneReply>,
    {
        let deadline = self.mount.deadline();
        let reply = self.mount.mrc.change_once::<M>(caller, request, deadline).await;
        let (change, reply) = change.checked(reply)?;
        let touched = reply.known.iter().map(|known| Ino(known.ino));
        let unforeseen: Vec<_> = touched.filter(|ino| !change.is_of(*ino)).collect();
        change.done(reply.log.as_ref(), None, reply.known, then);
        if !unforeseen.is_empty() {
            // Another mount has put it at the name since the kernel looked there: the kernel takes the link from what
            // it had found, and would show this one as it was.
            self.mount.forgetting.tell(unforeseen, Forget::Attributes).await;
        }
        Ok(())
    }

    pub async fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        kind: FileKind,
        node: CreateNode,
        rdev: u32,
    ) -> Result<Attributes> {
        self.writable()?;
        let name = checked(name)?;
        let request = v1::MknodRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: name.clone(),
            kind: kind.to_wire().into(),
            mode: node.mode,
            umask: node.umask,
            rdev,
        };
        self.make::<method::Mknod>(caller, request, (parent, name)).await
    }

    pub async fn mkdir(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        node: CreateNode,
    ) -> Result<Attributes> {
        self.writable()?;
        let name = checked(name)?;
        let request = v1::MkdirRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: name.clone(),
            mode: node.mode,
            umask: node.umask,
        };
        self.make::<method::Mkdir>(caller, request, (parent, name)).await
    }

    pub async fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attributes> {
        self.writable()?;
        let name = checked(name)?;
        let request = v1::SymlinkRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: name.clone(),
            target: Bytes::copy_from_slice(target),
        };
        self.make::<method::Symlink>(caller, request, (parent, name)).await
    }

    pub async fn readlink(&self, caller: &Caller, ino: Ino) -> Result<Bytes> {
        if let Some(kept) = self.mount.kept(|table| table.target(ino)) {
            return Ok(kept);
        }
        let request = self.inode(ino);
        let target = self.mount.mrc.ask::<method::Readlink>(caller, request).await?.target;
        // It never changes: an inode's number is not used again.
        self.mount.kept(|table| {
            table.learn_target(ino, target.clone());
            Some(())
        });
        Ok(target)
    }

    pub async fn link(
        &self,
        caller: &Caller,
        ino: Ino,
        parent: Ino,
        name: &[u8],
    ) -> Result<Attributes> {
        self.writable()?;
        let name = checked(name)?;
        let request = v1::LinkRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            parent: parent.0,
            name: name.clone(),
        };
        self.make::<method::Link>(caller, request, (parent, name)).await
    }

    pub async fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let request = self.entry(parent, name)?;
        self.remove::<method::Unlink>(caller, parent, request).await
    }

    pub async fn rmdir(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let request = self.entry(parent, name)?;
        self.remove::<method::Rmdir>(caller, parent, request).await
    }

    async fn remove<M>(
        &self,
        caller: &Caller,
        parent: Ino,
        request: v1::UnlinkRequest,
    ) -> Result<()>
    where
        M: Method<Request = v1::UnlinkRequest, Reply = v1::DoneReply>,
    {
        let name = request.name.clone();
        let child = self.behind(parent, &name).await;
        let change = self.mount.change_of([parent].into_iter().chain(child));
        self.register(child).await?;
        self.change_done::<M>(change, caller, request, gone(parent, name)).await
    }

    /// Over an existing file the new one's data is synced first, so that a power cut leaves one of
    /// the two.
    pub async fn rename(
        &self,
        caller: &Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        self.writable()?;
        let request = v1::RenameRequest {
            header: None,
            volume: self.id(),
            parent: from.0.0,
            name: checked(from.1)?,
            new_parent: to.0.0,
            new_name: checked(to.1)?,
            no_replace: flags.no_replace,
            exchange: flags.exchange,
        };
        let (syncer, write_behind) = (&self.mount.syncer, &self.mount.write_behind);
        let all_synced =
            syncer.is_empty() && write_behind.is_empty() && write_behind.lost_any().is_ok();
        if !flags.no_replace && !all_synced {
            self.sync_before_rename(caller, from, to).await?;
        }
        let moved = self.behind(from.0, from.1).await;
        let replaced = self.behind(to.0, to.1).await;
        let inos = [Some(from.0), Some(to.0), moved, replaced];
        let change = self.mount.change_of(inos.into_iter().flatten());
        self.register(replaced).await?;
        let (old, new) = (request.name.clone(), request.new_name.clone());
        self.change_done::<method::Rename>(change, caller, request, |table| {
            let known = table.kept(from.0).is_some() && table.kept(to.0).is_some();
            // Another mount may have given it the new name as well, since we looked: then both stay.
            let has_one_name = |ino| {
                table
                    .attributes_of(ino)
                    .is_some_and(|of| of.nlink == 1 || of.kind == FileKind::Directory)
            };
            let moved = moved.filter(|ino| known && !flags.exchange && has_one_name(*ino));
            match moved.filter(|_| moved != replaced) {
                Some(moved) => {
                    gone(from.0, old)(table);
                    leads(to.0, new, moved)(table);
                }
                // Two names of one inode both stay.
                None => {
                    table.forget_name(from.0, &old);
                    table.forget_name(to.0, &new);
                }
            }
        })
        .await
    }

    /// What a name leads to, if there is something that we may keep or hold open without the MRC. What is wrong with the
    /// name whoever uses it will hear.
    async fn behind(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        let kept = self.mount.kept(|table| table.look_up(parent, name));
        match kept {
            Some(Name::Leads(ino)) => Some(ino),
            Some(Name::Absent) => None,
            None if self.mount.cache.with(|table| table.keeps_any()) => {
                self.lookup(&ITSELF, parent, name).await.ok().map(|behind| behind.ino)
            }
            None => None,
        }
    }

    /// The MRC must know whether we hold an inode open before its last name goes.
    async fn register(&self, ino: Option<Ino>) -> Result<()> {
        let Some(file) = ino.and_then(|ino| self.mount.files.find(ino)) else { return Ok(()) };
        match self.mount.register(&file, self.mount.deadline()).await {
            // A handle of a session that is over holds nothing any more.
            Err(Error::SessionLost) => Ok(()),
            registered => registered,
        }
    }

    async fn sync_before_rename(
        &self,
        caller: &Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
    ) -> Result<()> {
        // What is wrong with the names is the rename's to say.
        let Ok(source) = self.lookup(caller, from.0, from.1).await else { return Ok(()) };
        let mount = &self.mount;
        let is_clean = !mount.syncer.holds_file(source.ino)
            && !mount.write_behind.holds_file(source.ino)
            && mount.write_behind.lost(source.ino).is_ok();
        if is_clean {
            return Ok(());
        }
        let replaces = self.lookup(caller, to.0, to.1).await.is_ok();
        match mount.files.find(source.ino) {
            Some(file) if replaces => {
                let deadline = mount.deadline();
                mount.flush_or_fail(&file, deadline).await?;
                mount.sync_file(&file, deadline).await
            }
            None if replaces => mount.write_behind.lost(source.ino),
            _ => Ok(()),
        }
    }

    /// Entries after the one with cookie `after` (zero: from the start), at most `limit`. "." and
    /// ".." are not among them. With `plus` they carry attributes. The caller may read the directory, as
    /// [`Volume::access`] has said when it was opened.
    pub async fn readdir(
        &self,
        caller: &Caller,
        ino: Ino,
        after: u64,
        limit: u32,
        plus: bool,
    ) -> Result<DirectoryPage> {
        if let Some(kept) = (!plus).then(|| self.mount.kept_page(ino, after)).flatten() {
            return Ok(kept);
        }
        // Attributes come along if they can be kept: who lists a directory looks at what is in it.
        let keeps = self.mount.kept(|table| table.kept(ino).map(drop)).is_some();
        let request = v1::ReadDirRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            after,
            limit: if keeps { limit.max(KEPT_ENTRIES) } else { limit },
            plus: plus || keeps,
            at_hand: !plus,
            by_handle: true,
        };
        let asked = self.mount.asked();
        let mut reply = self.mount.mrc.ask::<method::ReadDir>(caller, request).await?;
        let directory = reply.directory.take().and_then(known);
        let log = reply.log.take();
        let inodes: Vec<_> = reply
            .entries
            .iter_mut()
            .filter_map(|entry| described(entry.attributes, entry.lease.take()))
            .collect();
        let mut page = DirectoryPage::try_from(reply)?;
        for entry in &mut page.entries {
            let Some(attributes) = entry.attributes.take() else { continue };
            entry.attributes = self.current(caller, asked, attributes).await.ok();
        }
        let bare: Vec<_> = page.entries.iter().map(bare).collect();
        let whole = after == 0 && page.end;
        self.mount.cache.learn_page(asked, log.as_ref(), directory, (page.parent, &bare), whole);
        self.mount.cache.learn(asked, log.as_ref(), inodes);
        Ok(page)
    }

    pub async fn statfs(&self, caller: &Caller) -> Result<Statfs> {
        let request = v1::VolumeRequest { header: None, volume: self.id() };
        Ok(self.mount.mrc.ask::<method::Statfs>(caller, request).await?.into())
    }

    /// `mask` of R_OK, W_OK, X_OK.
    pub async fn access(&self, caller: &Caller, ino: Ino, mask: u32) -> Result<()> {
        let wanted = Wanted::from_mask(mask);
        if let Some(judged) = self.mount.kept(|table| table.judge(caller, ino, wanted)) {
            return judged;
        }
        let request = v1::AccessRequest { header: None, volume: self.id(), ino: ino.0, mask };
        self.mount.mrc.ask::<method::Access>(caller, request).await.map(|_| ())
    }

    pub async fn getxattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<Bytes> {
        let request = v1::GetXattrRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            name: Bytes::copy_from_slice(name),
        };
        if let Some(kept) = self.kept_xattr(caller, ino, name) {
            return kept;
        }
        let under = self.mount.kept(|table| table.under(ino));
        let reply = self.mount.mrc.ask::<method::GetXattr>(caller, request).await;
        let value = reply.map(|reply| reply.value);
        self.learn_xattr(caller, ino, under, name, &value);
        value
    }

    pub async fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.writable()?;
        let request = v1::SetXattrRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            name: Bytes::copy_from_slice(name),
            value: Bytes::copy_from_slice(value),
            create: mode == XattrMode::Create,
            replace: mode == XattrMode::Replace,
        };
        let change = self.mount.change_of([ino]);
        self.change_done::<method::SetXattr>(change, caller, request, |_| {}).await
    }

    pub async fn listxattr(&self, caller: &Caller, ino: Ino) -> Result<Vec<Bytes>> {
        if let Some(kept) = self.kept_xattr_names(caller, ino) {
            return Ok(kept.to_vec());
        }
        let under = self.mount.kept(|table| table.under(ino));
        let request = self.inode(ino);
        let names = self.mount.mrc.ask::<method::ListXattr>(caller, request).await?.names;
        if let (0, Some(under)) = (caller.uid, under) {
            let kept: Arc<[Bytes]> = names.as_slice().into();
            self.mount.kept(|table| {
                table.learn_xattr_names(ino, under, kept);
                Some(())
            });
        }
        Ok(names)
    }

    pub async fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let request = v1::RemoveXattrRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            name: Bytes::copy_from_slice(name),
        };
        let change = self.mount.change_of([ino]);
        self.change_done::<method::RemoveXattr>(change, caller, request, |_| {}).await
    }

    /// Makes the file if need be and opens it.
    pub async fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        node: CreateNode,
        flags: OpenFlags,
    ) -> Result<(Attributes, Arc<OpenFile>)> {
        self.writable()?;
        let name = checked(name)?;
        let request = v1::CreateRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: name.clone(),
            mode: node.mode,
            umask: node.umask,
            exclusive: flags.exclusive,
            read: flags.read,
            write: flags.write,
            truncate: flags.truncate,
        };
        let deadline = self.mount.deadline();
        if flags.truncate
            && !self.mount.write_behind.is_empty()
            && let Ok(there) = self.lookup(&ITSELF, parent, &name).await
        {
            self.mount.flush_inode(there.ino, deadline).await?;
        }
        let (asked, asked_cache) = (Instant::now(), self.mount.asked());
        let change = self.mount.change_of([parent]);
        let reply = self.mount.mrc.change_once::<method::Create>(caller, request, deadline).await;
        let (change, mut reply) = change.checked(reply)?;
        let ino = required(reply.attributes)?.ino;
        let inode = (ino, described(reply.attributes, reply.lease.take()));
        let known = std::mem::take(&mut reply.known);
        change.done(reply.log.as_ref(), Some(inode), known, leads(parent, name, ino));
        let (attributes, file) = OpenFile::new(&self.mount, reply, flags, asked)?;
        Ok((self.current(caller, asked_cache, attributes).await?, file))
    }

    pub async fn open(&self, caller: &Caller, ino: Ino, flags: OpenFlags) -> Result<Arc<OpenFile>> {
        if let Some(kept) = self.open_kept_for(caller, ino, flags) {
            return kept;
        }
        if flags.write || flags.truncate {
            self.writable()?;
        }
        let request = v1::OpenRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            read: flags.read,
            write: flags.write,
            truncate: flags.truncate,
            execute: flags.execute,
        };
        let deadline = self.mount.deadline();
        if flags.truncate {
            self.mount.flush_inode(ino, deadline).await?;
        }
        let asked = Instant::now();
        let change = self.mount.change_of([ino]);
        let reply = self.mount.mrc.change_once::<method::Open>(caller, request, deadline).await;
        let (change, mut reply) = change.checked(reply)?;
        let inode = (ino, described(reply.attributes, reply.lease.take()));
        change.done(reply.log.as_ref(), Some(inode), Vec::new(), |_| {});
        OpenFile::new(&self.mount, reply, flags, asked).map(|(_, file)| file)
    }

    pub async fn where_is(&self, caller: &Caller, ino: Ino) -> Result<Where> {
        let request = self.inode(ino);
        self.mount.mrc.ask::<method::Where>(caller, request).await?.try_into()
    }

    /// What new files in the directory get.
    pub async fn set_default_layout(
        &self,
        caller: &Caller,
        ino: Ino,
        layout: StripeLayout,
    ) -> Result<()> {
        self.writable()?;
        let request = v1::SetDefaultLayoutRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            layout: Some(layout.into()),
        };
        let deadline = self.mount.deadline();
        self.change_inode::<method::SetDefaultLayout>(caller, request, [ino], deadline)
            .await
            .map(|_| ())
    }

    /// Path of an inode from the volume's root, one of them if it has several.
    pub async fn path_of(&self, caller: &Caller, ino: Ino) -> Result<Bytes> {
        let request = self.inode(ino);
        Ok(self.mount.mrc.ask::<method::PathOf>(caller, request).await?.path)
    }

    /// Where a target is: its address and node, for people.
    pub fn describe_target(&self, target: xtfs_core::TargetId) -> String {
        self.mount.osds.describe(target)
    }

    /// Address of a target, best one.
    pub fn target_address(&self, target: xtfs_core::TargetId) -> Option<xtfs_rpc::Address> {
        let services = self.mount.mrc.cluster.services();
        services.target(target).and_then(|record| record.addresses.first().cloned())
    }

    /// Puts all metadata that was answered before on disk: fsync of a directory.
    pub async fn sync_metadata(&self) -> Result<()> {
        if self.mount.mrc.all_durable() {
            return Ok(());
        }
        let request = v1::SyncMetadataRequest { volume: self.id(), ..Default::default() };
        self.mount.mrc.change::<method::SyncMetadata>(&ITSELF, request).await.map(|_| ())
    }

    /// Returns when everything written has reached MRC and OSDs and the session is closed. Later
    /// calls fail.
    pub async fn shutdown(&self) -> Result<()> {
        let deadline = self.mount.deadline();
        let flushed = self.mount.flush_all(deadline).await;
        self.mount.closing.close();
        let closed = tokio::time::timeout_at(deadline, self.mount.closing.wait()).await;
        let closed = closed.map_err(|_| Error::Deadline("closes of files".into()));
        let synced = self.mount.sync_all(deadline).await;
        let metadata = self.sync_metadata().await;
        self.mount.stop.cancel();
        self.mount.tasks.close();
        self.mount.tasks.wait().await;
        let ended = self.mount.mrc.close_session(self.mount.deadline()).await;
        self.mount.tell_reads().await;
        let lost = self.mount.write_behind.lost_any();
        flushed.and(lost).and(closed).and(synced).and(metadata).and(ended)
    }

    fn id(&self) -> u64 {
        self.mount.mrc.volume.0
    }

    fn inode(&self, ino: Ino) -> v1::InodeRequest {
        v1::InodeRequest { header: None, volume: self.id(), ino: ino.0 }
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Result<v1::UnlinkRequest> {
        self.writable()?;
        let name = checked(name)?;
        Ok(v1::UnlinkRequest { header: None, volume: self.id(), parent: parent.0, name })
    }

    fn writable(&self) -> Result<()> {
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }
}

/// A name that the MRC can have, spared the way there otherwise.
fn checked(name: &[u8]) -> Result<Bytes> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    Ok(Bytes::copy_from_slice(name))
}
