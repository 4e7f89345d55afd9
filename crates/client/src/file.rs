//! An open file.

use bytes::Bytes;
use xtfs_core::{Error, Ino, Result};

use crate::Caller;
use crate::attributes::Attributes;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    /// `O_APPEND`: `write` ignores its offset.
    pub append: bool,
    /// `O_TRUNC`.
    pub truncate: bool,
    /// `O_EXCL`; of create only.
    pub exclusive: bool,
    /// Opened to be executed: x instead of r is asked for.
    pub execute: bool,
    /// `O_SYNC`, `O_DSYNC`: a write returns when it is on disk.
    pub sync: bool,
}

/// One handle. `release` it; dropped without it, it is closed in the background.
#[derive(Debug)]
pub struct OpenFile {
    ino: Ino,
}

fn unbuilt<T>() -> Result<T> {
    Err(Error::NotSupported("not connected".into()))
}

impl OpenFile {
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// At most `len` bytes from `offset`; fewer only at the end of the file.
    pub async fn read(&self, _offset: u64, _len: u32) -> Result<Bytes> {
        unbuilt()
    }

    /// All of `data`; on return every later read anywhere sees it. Of a file opened with `append` it goes to the end.
    pub async fn write(&self, _offset: u64, _data: Bytes) -> Result<()> {
        unbuilt()
    }

    /// Writes at the end of the file, whatever the flags; returns where.
    pub async fn append(&self, _data: Bytes) -> Result<u64> {
        unbuilt()
    }

    /// What was written through any handle of this inode, and all metadata, survives a power cut on return. An error
    /// that happened in the background since the last call is reported once.
    pub async fn fsync(&self, _datasync: bool) -> Result<()> {
        unbuilt()
    }

    /// At every close(2): reports errors that happened in the background.
    pub async fn flush(&self) -> Result<()> {
        unbuilt()
    }

    /// The last use of the handle. Handles that wrote nothing are closed in the background.
    pub async fn release(&self) -> Result<()> {
        unbuilt()
    }

    pub async fn attributes(&self, _caller: &Caller) -> Result<Attributes> {
        unbuilt()
    }
}
