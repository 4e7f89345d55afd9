//! One mount of one volume.

use std::sync::Arc;

use bytes::Bytes;
use xtfs_core::{Error, Ino, Result, StripeLayout};

use crate::Caller;
use crate::attributes::{Attributes, DirectoryPage, FileKind, SetAttr, Statfs};
use crate::file::{OpenFile, OpenFlags};
use crate::layout::Where;
use crate::spec::{MountSpec, Options};

#[derive(Debug)]
pub struct Client;

/// Every call is made for a caller, whose permissions the MRC checks. Each ends within `Options::timeo`, or shortly
/// after it.
#[derive(Debug)]
pub struct Volume {
    root: Ino,
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

fn unbuilt<T>() -> Result<T> {
    Err(Error::NotSupported("not connected".into()))
}

impl Client {
    /// Finds cluster, volume and MRC, opens a session there, and looks the subdirectory up.
    pub async fn mount(_spec: MountSpec, _options: Options) -> Result<Arc<Volume>> {
        unbuilt()
    }
}

impl Volume {
    /// What is mounted: the volume's root, or the subdirectory.
    pub fn root(&self) -> Ino {
        self.root
    }

    pub async fn lookup(&self, _caller: &Caller, _parent: Ino, _name: &[u8]) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn getattr(&self, _caller: &Caller, _ino: Ino) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn setattr(&self, _caller: &Caller, _ino: Ino, _set: &SetAttr) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn mknod(
        &self,
        _caller: &Caller,
        _parent: Ino,
        _name: &[u8],
        _kind: FileKind,
        _node: CreateNode,
        _rdev: u32,
    ) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn mkdir(
        &self,
        _caller: &Caller,
        _parent: Ino,
        _name: &[u8],
        _node: CreateNode,
    ) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn symlink(
        &self,
        _caller: &Caller,
        _parent: Ino,
        _name: &[u8],
        _target: &[u8],
    ) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn readlink(&self, _caller: &Caller, _ino: Ino) -> Result<Bytes> {
        unbuilt()
    }

    pub async fn link(
        &self,
        _caller: &Caller,
        _ino: Ino,
        _parent: Ino,
        _name: &[u8],
    ) -> Result<Attributes> {
        unbuilt()
    }

    pub async fn unlink(&self, _caller: &Caller, _parent: Ino, _name: &[u8]) -> Result<()> {
        unbuilt()
    }

    pub async fn rmdir(&self, _caller: &Caller, _parent: Ino, _name: &[u8]) -> Result<()> {
        unbuilt()
    }

    pub async fn rename(
        &self,
        _caller: &Caller,
        _from: (Ino, &[u8]),
        _to: (Ino, &[u8]),
        _flags: RenameFlags,
    ) -> Result<()> {
        unbuilt()
    }

    /// Entries after the one with cookie `after` (zero: from the start), at most `limit`. "." and ".." are not among
    /// them. With `plus` they carry attributes.
    pub async fn readdir(
        &self,
        _caller: &Caller,
        _ino: Ino,
        _after: u64,
        _limit: u32,
        _plus: bool,
    ) -> Result<DirectoryPage> {
        unbuilt()
    }

    pub async fn statfs(&self, _caller: &Caller) -> Result<Statfs> {
        unbuilt()
    }

    /// `mask` of R_OK, W_OK, X_OK.
    pub async fn access(&self, _caller: &Caller, _ino: Ino, _mask: u32) -> Result<()> {
        unbuilt()
    }

    pub async fn getxattr(&self, _caller: &Caller, _ino: Ino, _name: &[u8]) -> Result<Bytes> {
        unbuilt()
    }

    pub async fn setxattr(
        &self,
        _caller: &Caller,
        _ino: Ino,
        _name: &[u8],
        _value: &[u8],
        _mode: XattrMode,
    ) -> Result<()> {
        unbuilt()
    }

    pub async fn listxattr(&self, _caller: &Caller, _ino: Ino) -> Result<Vec<Bytes>> {
        unbuilt()
    }

    pub async fn removexattr(&self, _caller: &Caller, _ino: Ino, _name: &[u8]) -> Result<()> {
        unbuilt()
    }

    /// Makes the file if need be and opens it.
    pub async fn create(
        self: &Arc<Self>,
        _caller: &Caller,
        _parent: Ino,
        _name: &[u8],
        _node: CreateNode,
        _flags: OpenFlags,
    ) -> Result<(Attributes, Arc<OpenFile>)> {
        unbuilt()
    }

    pub async fn open(
        self: &Arc<Self>,
        _caller: &Caller,
        _ino: Ino,
        _flags: OpenFlags,
    ) -> Result<Arc<OpenFile>> {
        unbuilt()
    }

    pub async fn where_is(&self, _caller: &Caller, _ino: Ino) -> Result<Where> {
        unbuilt()
    }

    /// What new files in the directory get.
    pub async fn set_default_layout(
        &self,
        _caller: &Caller,
        _ino: Ino,
        _layout: StripeLayout,
    ) -> Result<()> {
        unbuilt()
    }

    /// Path of an inode from the volume's root, one of them if it has several.
    pub async fn path_of(&self, _caller: &Caller, _ino: Ino) -> Result<Bytes> {
        unbuilt()
    }

    /// Puts all metadata that was answered before on disk: fsync of a directory.
    pub async fn sync_metadata(&self) -> Result<()> {
        unbuilt()
    }

    /// Returns when everything written has reached MRC and OSDs and the session is closed. Later calls fail.
    pub async fn shutdown(&self) -> Result<()> {
        unbuilt()
    }
}
