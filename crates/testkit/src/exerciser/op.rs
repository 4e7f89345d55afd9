//! What can be asked of a file system, and what it answers.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::lock::Take;

/// Which of the open files.
pub(super) type Slot = usize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    pub exclusive: bool,
    pub truncate: bool,
    pub append: bool,
    pub no_follow: bool,
    pub directory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onto {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XattrMode {
    Any,
    Create,
    Replace,
}

/// The modes of fallocate(2) that are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Take,
    TakeKeepSize,
    Punch,
    Zero,
    ZeroKeepSize,
}

/// `SEEK_DATA` and `SEEK_HOLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    Data,
    Hole,
}

/// What is asked of ranges of an open regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    Allocate {
        offset: u64,
        len: u64,
        room: Room,
    },
    /// `copy_file_range`, until it is done or at the source's end.
    CopyFrom {
        from: Slot,
        from_offset: u64,
        to_offset: u64,
        len: usize,
    },
    Seek {
        offset: u64,
        sought: Sought,
    },
    /// Of the open file description, without waiting. `len` zero is to the end of all files.
    Lock {
        take: Take,
        start: u64,
        len: u64,
    },
    /// What is in the way of an exclusive lock.
    TestLock {
        start: u64,
        len: u64,
    },
}

impl Ranges {
    pub(super) fn is_lock(&self) -> bool {
        matches!(self, Ranges::Lock { .. } | Ranges::TestLock { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Open {
        slot: Slot,
        path: String,
        flags: Flags,
        mode: u32,
    },
    Close {
        slot: Slot,
    },
    Read {
        slot: Slot,
        offset: u64,
        len: usize,
    },
    /// At the end, if the file was opened so.
    Write {
        slot: Slot,
        offset: u64,
        len: usize,
        fill: u8,
    },
    Resize {
        slot: Slot,
        size: u64,
    },
    Ranges {
        slot: Slot,
        act: Ranges,
    },
    Sync {
        slot: Slot,
        data_only: bool,
    },
    StatOpen {
        slot: Slot,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Unlink {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        onto: Onto,
    },
    Link {
        from: String,
        to: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    Readlink {
        path: String,
    },
    Stat {
        path: String,
        follow: bool,
    },
    List {
        path: String,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: bool,
    },
    SetMtime {
        path: String,
        seconds: i64,
        nanos: u32,
    },
    SetXattr {
        path: String,
        name: String,
        value: Vec<u8>,
        mode: XattrMode,
    },
    GetXattr {
        path: String,
        name: String,
    },
    ListXattr {
        path: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    /// Of a directory: `None`, that is the file system's own business.
    pub size: Option<u64>,
    /// Equal for one inode; the model and the system number inodes differently.
    pub ino: u64,
    /// Where it is known: it was set, and nothing was written since.
    pub mtime: Option<(i64, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Bytes(Vec<u8>),
    Count(usize),
    Stat(Stat),
    Entries(BTreeMap<String, Kind>),
    Names(Vec<String>),
    Position(u64),
    /// The model's: a position in one of these, or none at all (ENXIO) if `or_none`.
    PositionIn {
        ranges: Vec<Range<u64>>,
        or_none: bool,
    },
    /// What is in the way: the system names one, the model all.
    Locked(Vec<Range<u64>>),
    /// An errno.
    Failed(i32),
}

impl Outcome {
    /// Whether `seen` is this one, as far as the model knows it. Inode numbers are compared elsewhere.
    pub(super) fn admits(&self, seen: &Outcome) -> bool {
        match (self, seen) {
            (Outcome::Stat(told), Outcome::Stat(seen)) => {
                let known = Stat {
                    ino: told.ino,
                    size: told.size.and(seen.size),
                    mtime: told.mtime.and(seen.mtime),
                    ..seen.clone()
                };
                *told == known
            }
            (Outcome::PositionIn { ranges, .. }, Outcome::Position(at)) => {
                ranges.iter().any(|range| range.contains(at))
            }
            (Outcome::PositionIn { or_none, .. }, Outcome::Failed(errno)) => {
                *or_none && *errno == libc::ENXIO
            }
            (Outcome::Locked(told), Outcome::Locked(seen)) => {
                told.is_empty() == seen.is_empty() && seen.iter().all(|range| told.contains(range))
            }
            (told, seen) => told == seen,
        }
    }
}
