//! Tests of the store as a whole.
#![allow(clippy::cast_possible_truncation, reason = "columns of tests are small")]

mod crash;
mod damage;
mod model;
mod rules;
mod space;
mod speed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use xtfs_core::checksum::piece_sums;
use xtfs_core::{
    ColumnId, ColumnIndex, DataNumber, DataVersion, Error, FileEpoch, GroupId, Result, Timestamp,
    VolumeId,
};
use xtfs_kv::{Kv, MemKv};

use super::{ColumnState, Environment, Fence, Options, ReadOut, Store};

pub(super) const OPEN: Fence = Fence { epoch: FileEpoch(0), column_floor: None };

/// A data directory whose store can be dropped and opened again.
pub(super) struct Target {
    pub(super) dir: TempDir,
    pub(super) kv: Arc<MemKv>,
    pub(super) options: Options,
    pub(super) store: Store,
}

impl Target {
    pub(super) fn new(options: Options) -> Self {
        let dir = temporary();
        let kv = Arc::new(MemKv::default());
        let store = open(dir.path(), Arc::clone(&kv) as _, &options, "boot 1").unwrap();
        Target { dir, kv, options, store }
    }

    /// With segments of a few blocks.
    pub(super) fn small() -> Self {
        Target::new(Options { reserve: Some(0), segment_size: 16 << 10, ..Options::default() })
    }

    pub(super) fn large() -> Self {
        Target::new(Options { reserve: Some(0), ..Options::default() })
    }

    /// The process dies and starts again.
    pub(super) fn restart(&mut self) {
        self.store =
            open(self.dir.path(), Arc::clone(&self.kv) as _, &self.options, "boot 1").unwrap();
    }

    /// The host starts again.
    pub(super) fn reboot(&mut self) {
        self.store =
            open(self.dir.path(), Arc::clone(&self.kv) as _, &self.options, "boot 2").unwrap();
    }

    pub(super) fn file(&self, id: ColumnId, segment: u32, sums: bool) -> PathBuf {
        let directory = super::segment::directory_path(&self.dir.path().join("columns"), id);
        directory.join(format!("{id}.{segment}{}", if sums { ".sums" } else { "" }))
    }

    pub(super) fn write(&self, id: ColumnId, offset: u64, data: &[u8]) -> Result<ColumnState> {
        write(&self.store, id, OPEN, offset, data)
    }

    pub(super) fn read(&self, id: ColumnId, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.store.read(id, OPEN, offset, length).map(|out| filled(&out))
    }
}

/// In memory where there is such a place: a test makes many directories and syncs them.
fn temporary() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

pub(super) fn open(dir: &Path, kv: Arc<dyn Kv>, options: &Options, boot: &str) -> Result<Store> {
    let environment = Environment { host_boot: boot.to_owned(), filesystem: "mount 1".to_owned() };
    Store::open(dir, kv, options.clone(), &environment)
}

pub(super) fn column(data: u64) -> ColumnId {
    ColumnId {
        volume: VolumeId::new(GroupId(1), 1),
        data: DataNumber(data),
        index: ColumnIndex(0),
        version: DataVersion(0),
    }
}

pub(super) fn fence(epoch: u64, column_floor: Option<u64>) -> Fence {
    Fence { epoch: FileEpoch(epoch), column_floor }
}

pub(super) fn write(
    store: &Store,
    id: ColumnId,
    fence: Fence,
    offset: u64,
    data: &[u8],
) -> Result<ColumnState> {
    let sums = piece_sums(offset, data);
    // In parts, as frames come from the wire.
    let parts: Vec<Bytes> = data.chunks(5000).map(Bytes::copy_from_slice).collect();
    store.write(id, fence, offset, &parts, &sums, Timestamp(1))
}

/// What a reader makes of a reply, with all its promises checked.
pub(super) fn filled(out: &ReadOut) -> Vec<u8> {
    let mut bytes = vec![0; out.length as usize];
    let whole = [super::Extent { offset: 0, length: out.length }];
    let is_whole = out.extents.is_empty() && !out.data.is_empty();
    let extents = if is_whole { &whole[..] } else { &out.extents };
    let mut at = 0;
    for extent in extents {
        let (start, length) = (extent.offset as usize, extent.length as usize);
        bytes[start..start + length].copy_from_slice(&out.data[at..at + length]);
        at += length;
    }
    assert_eq!(at, out.data.len());
    let sums: Vec<_> = out.data.chunks(4096).map(xtfs_core::checksum::block_sum).collect();
    assert_eq!(out.sums, sums);
    bytes
}

#[track_caller]
pub(super) fn corrupt<T: std::fmt::Debug>(result: Result<T>, names: &str) {
    match result {
        Err(Error::Corrupt(text)) => assert!(text.contains(names), "{text} does not name {names}"),
        other => panic!("{other:?} is not corrupt"),
    }
}
