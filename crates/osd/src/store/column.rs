//! A column in memory, and what callers hand to it and get from it.

use bytes::Bytes;
use parking_lot::RwLock;
use xtfs_core::{ColumnId, FileEpoch, SetEpoch, TargetId, Timestamp};

use super::dirty::Dirty;
use super::record::Record;

/// What a capability or the MRC says about the fence of a column (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub epoch: FileEpoch,
    /// The floor in bytes of the column; `None`: nothing to cut.
    pub column_floor: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnState {
    pub length: u64,
    /// Bytes on disk.
    pub allocated: u64,
    /// Zero: never written.
    pub mtime: Timestamp,
    pub file_epoch: FileEpoch,
}

/// Whether a change of a range that reaches beyond the column's end moves that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Keep,
    Grow,
}

/// Part of a read, relative to its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u32,
    pub length: u32,
}

#[derive(Clone, Debug, Default)]
pub struct ReadOut {
    pub state: ColumnState,
    /// Bytes of the range below the column's length.
    pub length: u32,
    /// Where the parts of `data` belong; what lies between is holes. Empty, with `data` not empty: no holes.
    pub extents: Vec<Extent>,
    /// One for each block of `data`, the last one filled up with zeros.
    pub sums: Vec<u32>,
    pub data: Bytes,
}

/// Consecutive damaged blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub offset: u64,
    pub length: u64,
    pub cause: String,
    /// The file of these blocks is gone as a whole.
    pub missing: bool,
}

/// A replica set as this target was told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReplicaSet {
    pub epoch: SetEpoch,
    /// In order; the first is the primary.
    pub members: Vec<TargetId>,
}

/// A column that was touched lately, or has something that is not on disk yet.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) id: ColumnId,
    /// Held over reads and, exclusively, over changes of the files; never over a sync.
    pub(super) state: RwLock<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) presence: Presence,
    pub(super) record: Record,
    pub(super) dirty: Dirty,
    /// The files agree with the record and the sums with the files. Not so after a start or a failed write.
    pub(super) prepared: bool,
    /// Which of the store's changes of kv a sync must wait for.
    pub(super) kv_change: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// Kv was not asked yet.
    #[default]
    Unknown,
    Absent,
    Present,
    Deleted,
}

impl Column {
    pub(super) fn new(id: ColumnId) -> Self {
        Column { id, state: RwLock::default() }
    }
}

impl State {
    pub(super) fn is_idle(&self) -> bool {
        !self.dirty.is_dirty() && !self.dirty.has_marks()
    }
}

impl From<&Record> for ColumnState {
    fn from(record: &Record) -> Self {
        ColumnState {
            length: record.length,
            allocated: record.allocated,
            mtime: record.mtime,
            file_epoch: record.file_epoch,
        }
    }
}
