//! What can be asked of a file system, and what it answers.

use std::collections::BTreeMap;

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
            (told, seen) => told == seen,
        }
    }
}
