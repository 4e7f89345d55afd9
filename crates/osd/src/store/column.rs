//! What callers hand to a column and get from it.

use bytes::Bytes;
use xtfs_core::{FileEpoch, SetEpoch, TargetId, Timestamp};

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
}

/// A replica set as this target was told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReplicaSet {
    pub epoch: SetEpoch,
    /// In order; the first is the primary.
    pub members: Vec<TargetId>,
}
