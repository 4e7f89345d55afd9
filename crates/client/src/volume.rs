//! One mount of one volume: the namespace.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use xtfs_core::access::{SGID, SUID};
use xtfs_core::{Error, Ino, NAME_MAX, Result, StripeLayout};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, DirectoryPage, FileKind, SetAttr, Statfs, required};
use crate::file::{OpenFile, OpenFlags};
use crate::layout::Where;
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

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

    /// What is mounted: the volume's root, or the subdirectory.
    pub fn root(&self) -> Ino {
        self.root
    }

    /// The volume's policy when it was mounted: owners may give files away.
    pub fn chown_non_root(&self) -> bool {
        self.mount.mrc.chown_non_root()
    }

    pub async fn lookup(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<Attributes> {
        let request = v1::LookupRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: checked(name)?,
        };
        required(self.mount.mrc.ask::<method::Lookup>(caller, request).await?.attributes)
    }

    pub async fn getattr(&self, caller: &Caller, ino: Ino) -> Result<Attributes> {
        let file = self.mount.files.find(ino);
        self.mount.getattr(caller, ino, file.as_deref(), self.mount.deadline()).await
    }

    pub async fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attributes> {
        self.writable()?;
        let file = self.mount.files.find(ino);
        let deadline = self.mount.deadline();
        if set.mode.is_some_and(|mode| mode & (SUID | SGID) != 0)
            && let Some(file) = &file
            && let Err(err) = self.mount.sync_file(file, deadline).await
        {
            // The epoch may rise (R12), and what is kept of an older one could not be written again.
            tracing::warn!(%ino, %err, "sync a file that gets suid or sgid");
        }
        let report = file.as_ref().and_then(|file| file.report.lock().to_wire());
        let request = v1::SetAttrRequest { report, ..set.to_wire(self.id(), ino) };
        let Some(size) = set.size else {
            return required(
                self.mount.mrc.change::<method::SetAttr>(caller, request).await?.attributes,
            );
        };
        // No write of ours may be on its way: it would be refused as one of an older epoch, and
        // be sent again with the new one, beyond the new end.
        let _alone = match &file {
            Some(file) => Some(
                tokio::time::timeout_at(deadline, file.writing.write())
                    .await
                    .map_err(|_| Error::Deadline(format!("writes to inode {ino}")))?,
            ),
            None => None,
        };
        let reply =
            self.mount.mrc.change_until::<method::SetAttr>(caller, request, deadline).await?;
        if let Some(file) = &file
            && let Some(old) = file.last_rights()
        {
            // The epoch has risen. A file that is not open any more cannot be written again.
            let renewed = self.mount.renew(file, false, old.renewals, deadline).await;
            let epoch = renewed.ok().flatten().map(|rights| rights.grant.file_epoch);
            self.mount.syncer.cut(&old.layout, self.mount.mrc.volume, size, epoch);
        }
        required(reply.attributes)
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
        let request = v1::MknodRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: checked(name)?,
            kind: kind.to_wire().into(),
            mode: node.mode,
            umask: node.umask,
            rdev,
        };
        required(self.mount.mrc.change::<method::Mknod>(caller, request).await?.attributes)
    }

    pub async fn mkdir(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        node: CreateNode,
    ) -> Result<Attributes> {
        self.writable()?;
        let request = v1::MkdirRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: checked(name)?,
            mode: node.mode,
            umask: node.umask,
        };
        required(self.mount.mrc.change::<method::Mkdir>(caller, request).await?.attributes)
    }

    pub async fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attributes> {
        self.writable()?;
        let request = v1::SymlinkRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: checked(name)?,
            target: Bytes::copy_from_slice(target),
        };
        required(self.mount.mrc.change::<method::Symlink>(caller, request).await?.attributes)
    }

    pub async fn readlink(&self, caller: &Caller, ino: Ino) -> Result<Bytes> {
        let request = self.inode(ino);
        Ok(self.mount.mrc.ask::<method::Readlink>(caller, request).await?.target)
    }

    pub async fn link(
        &self,
        caller: &Caller,
        ino: Ino,
        parent: Ino,
        name: &[u8],
    ) -> Result<Attributes> {
        self.writable()?;
        let request = v1::LinkRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            parent: parent.0,
            name: checked(name)?,
        };
        required(self.mount.mrc.change::<method::Link>(caller, request).await?.attributes)
    }

    pub async fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let request = self.entry(parent, name)?;
        self.mount.mrc.change::<method::Unlink>(caller, request).await.map(|_| ())
    }

    pub async fn rmdir(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let request = self.entry(parent, name)?;
        self.mount.mrc.change::<method::Rmdir>(caller, request).await.map(|_| ())
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
        if !flags.no_replace && !self.mount.syncer.is_empty() {
            self.sync_before_rename(caller, from, to).await?;
        }
        self.mount.mrc.change::<method::Rename>(caller, request).await.map(|_| ())
    }

    async fn sync_before_rename(
        &self,
        caller: &Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
    ) -> Result<()> {
        // What is wrong with the names is the rename's to say.
        let Ok(source) = self.lookup(caller, from.0, from.1).await else { return Ok(()) };
        if !self.mount.syncer.holds_file(source.ino) {
            return Ok(());
        }
        let replaces = self.lookup(caller, to.0, to.1).await.is_ok();
        match self.mount.files.find(source.ino) {
            Some(file) if replaces => self.mount.sync_file(&file, self.mount.deadline()).await,
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
        let request = v1::ReadDirRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            after,
            limit,
            plus,
            by_handle: true,
        };
        self.mount.mrc.ask::<method::ReadDir>(caller, request).await?.try_into()
    }

    pub async fn statfs(&self, caller: &Caller) -> Result<Statfs> {
        let request = v1::VolumeRequest { header: None, volume: self.id() };
        Ok(self.mount.mrc.ask::<method::Statfs>(caller, request).await?.into())
    }

    /// `mask` of R_OK, W_OK, X_OK.
    pub async fn access(&self, caller: &Caller, ino: Ino, mask: u32) -> Result<()> {
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
        Ok(self.mount.mrc.ask::<method::GetXattr>(caller, request).await?.value)
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
        self.mount.mrc.change::<method::SetXattr>(caller, request).await.map(|_| ())
    }

    pub async fn listxattr(&self, caller: &Caller, ino: Ino) -> Result<Vec<Bytes>> {
        let request = self.inode(ino);
        Ok(self.mount.mrc.ask::<method::ListXattr>(caller, request).await?.names)
    }

    pub async fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let request = v1::RemoveXattrRequest {
            header: None,
            volume: self.id(),
            ino: ino.0,
            name: Bytes::copy_from_slice(name),
        };
        self.mount.mrc.change::<method::RemoveXattr>(caller, request).await.map(|_| ())
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
        let request = v1::CreateRequest {
            header: None,
            volume: self.id(),
            parent: parent.0,
            name: checked(name)?,
            mode: node.mode,
            umask: node.umask,
            exclusive: flags.exclusive,
            read: flags.read,
            write: flags.write,
            truncate: flags.truncate,
        };
        let asked = Instant::now();
        let reply = self.mount.mrc.change::<method::Create>(caller, request).await?;
        OpenFile::new(&self.mount, reply, flags, asked)
    }

    pub async fn open(&self, caller: &Caller, ino: Ino, flags: OpenFlags) -> Result<Arc<OpenFile>> {
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
        let asked = Instant::now();
        let reply = self.mount.mrc.change::<method::Open>(caller, request).await?;
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
        self.mount.mrc.change::<method::SetDefaultLayout>(caller, request).await.map(|_| ())
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
        self.mount.closing.close();
        let closed = tokio::time::timeout_at(deadline, self.mount.closing.wait()).await;
        let closed = closed.map_err(|_| Error::Deadline("closes of files".into()));
        let synced = self.mount.sync_all(deadline).await;
        let metadata = self.sync_metadata().await;
        self.mount.stop.cancel();
        self.mount.tasks.close();
        self.mount.tasks.wait().await;
        let ended = self.mount.mrc.close_session(self.mount.deadline()).await;
        closed.and(synced).and(metadata).and(ended)
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
