//! One storage target: the columns that a data directory holds. Blocking; see `docs/format.md` for its bytes.

mod boot;
mod column;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xtfs_core::{
    BootNumber, ColumnId, Error, FileEpoch, GroupId, ReplicaSetId, Result, SetEpoch, Timestamp,
    VolumeId,
};
use xtfs_kv::Kv;

pub use boot::Environment;
pub use column::{ColumnState, Damage, Extent, Fence, ReadOut, ReplicaSet};
pub use space::Space;

/// How a target is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the disk that are left free; `None` is the larger of 1 % and 1 GiB, at most a quarter.
    pub reserve: Option<u64>,
    /// Bytes that the target may fill. `None`: the disk is the bound.
    pub capacity: Option<u64>,
    /// Bytes of a segment file, a multiple of 4096.
    pub segment_size: u64,
    /// Segments whose two files are kept open.
    pub open_segments_max: usize,
    /// Columns without unsynced data whose state is kept in memory.
    pub columns_max: usize,
}

/// One target. All calls block; none waits for another column.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    kv: Arc<dyn Kv>,
    options: Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reserve: None,
            capacity: None,
            segment_size: 1 << 40,
            open_segments_max: 1024,
            columns_max: 65_536,
        }
    }
}

impl Store {
    /// Opens the target in `dir`, which exists; `kv` holds its records and belongs to it alone.
    pub fn open(
        dir: &Path,
        kv: Arc<dyn Kv>,
        options: Options,
        environment: &Environment,
    ) -> Result<Store> {
        let _ = environment;
        Ok(Store { dir: dir.to_owned(), kv, options })
    }

    /// New when what was not synced may be lost (O3).
    pub fn boot(&self) -> BootNumber {
        BootNumber(1)
    }

    /// What lies at `offset` (both multiples of 4096), every block checked.
    pub fn read(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
        length: u32,
    ) -> Result<ReadOut> {
        self.later(column, fence, offset, length)
    }

    /// Writes `data`, the concatenation of its parts. `sums` as `core::checksum::piece_sums` makes them.
    pub fn write(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
        data: &[Bytes],
        sums: &[u32],
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        let _ = (data, sums, mtime);
        self.later(column, fence, offset, 0)
    }

    /// Deallocates a range; it reads as zeros. The length stays.
    pub fn punch(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
        length: u64,
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        let _ = (length, mtime);
        self.later(column, fence, offset, 0)
    }

    /// R7, from the MRC: durable on return.
    pub fn seal(&self, column: ColumnId, fence: Fence) -> Result<ColumnState> {
        self.later(column, fence, 0, 0)
    }

    /// Puts all that was written to `columns` on disk. Unknown columns are fine.
    pub fn sync(&self, columns: &[ColumnId]) -> Result<()> {
        let _ = columns;
        self.unsupported()
    }

    /// Puts everything on disk; call it every few seconds. Answers how many columns that were.
    pub fn sync_all(&self) -> Result<usize> {
        self.unsupported()
    }

    /// Removes columns for good; durable on return, with tombstones. Unknown columns get one, too.
    pub fn delete(&self, columns: &[ColumnId], now: Timestamp) -> Result<()> {
        let _ = (columns, now);
        self.unsupported()
    }

    /// Removes the columns of `group` whose data number is in `first..end`, which were never given out (R9).
    pub fn delete_data_range(
        &self,
        group: GroupId,
        first: u64,
        end: u64,
        now: Timestamp,
    ) -> Result<usize> {
        let _ = (group, first, end, now);
        self.unsupported()
    }

    /// Forgets tombstones older than `age`, which must outlive every capability. Answers how many.
    pub fn gc(&self, now: Timestamp, age: Duration) -> Result<usize> {
        let _ = (now, age);
        self.unsupported()
    }

    /// `None`: never written, or deleted.
    pub fn stat(&self, column: ColumnId) -> Result<Option<ColumnState>> {
        let _ = column;
        self.unsupported()
    }

    /// Columns after `after` in the order of their ids; fewer than `limit`: that was the end.
    pub fn list(
        &self,
        after: Option<ColumnId>,
        limit: usize,
        volume: Option<VolumeId>,
    ) -> Result<Vec<(ColumnId, ColumnState)>> {
        let _ = (after, limit, volume);
        self.unsupported()
    }

    /// Reads a column from the disk and checks every sum.
    pub fn verify(&self, column: ColumnId) -> Result<Vec<Damage>> {
        let _ = column;
        self.unsupported()
    }

    pub fn space(&self) -> Result<Space> {
        self.unsupported()
    }

    /// Stores the epochs of sets; durable on return. A lower epoch than the stored one is ignored.
    pub fn configure_sets(&self, sets: &[(ReplicaSetId, ReplicaSet)]) -> Result<()> {
        let _ = sets;
        self.unsupported()
    }

    /// `None`: never told.
    pub fn set(&self, set: ReplicaSetId) -> Result<Option<ReplicaSet>> {
        let _ = set;
        self.unsupported()
    }

    /// O1: the set is stored at exactly `epoch`, else `UnknownSet` or `StaleSetEpoch`.
    pub fn check_set(&self, set: ReplicaSetId, epoch: SetEpoch) -> Result<()> {
        let _ = (set, epoch);
        self.unsupported()
    }

    /// Syncs everything. The store refuses nothing afterwards; drop it.
    pub fn close(&self) -> Result<()> {
        self.unsupported()
    }

    fn later<T>(&self, column: ColumnId, fence: Fence, offset: u64, length: u32) -> Result<T> {
        let _ = (column, fence, offset, length, FileEpoch(0));
        self.unsupported()
    }

    fn unsupported<T>(&self) -> Result<T> {
        let _ = (&self.kv, &self.options);
        Err(Error::NotSupported(format!("the store at {}", self.dir.display())))
    }
}
