//! Calls, and what they ended with.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// A file. Numbers are never used again.
pub(super) type Ino = u64;

/// What a write fills its cells with: its own number, so that a reader knows whom it reads. 0: never written.
pub(super) type Tag = u32;

/// Bytes of a cell. Whatever is read, written or cut is a number of cells.
pub(super) const CELL: usize = 32;

/// Cells of a block of 4 KiB, within which reads and writes are to be atomic.
pub(super) const CELLS_MAX: usize = 4096 / CELL;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) dir: u8,
    pub(super) name: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    Read,
    Write,
    Create,
    Exclusive,
    /// Made if need be, and emptied.
    Truncate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    Open {
        at: Place,
        how: How,
        append: bool,
    },
    Stat {
        at: Place,
    },
    Unlink {
        at: Place,
    },
    Rename {
        from: Place,
        to: Place,
    },
    List {
        dir: u8,
    },
    /// Of what is open.
    Link {
        ino: Ino,
        to: Place,
    },
    StatOpen {
        ino: Ino,
    },
    Read {
        ino: Ino,
    },
    Write {
        ino: Ino,
        at: usize,
        len: usize,
        tag: Tag,
    },
    Append {
        ino: Ino,
        len: usize,
        tag: Tag,
    },
    Cut {
        ino: Ino,
        size: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Done,
    Opened(Ino),
    Status {
        ino: Ino,
        size: u64,
        nlink: u32,
    },
    Entries(BTreeMap<u8, Ino>),
    Cells(Vec<Tag>),
    Failed(i32),
    /// What no file system may answer: half a cell, say.
    Odd(String),
    /// The client was killed: it may have happened or not, or happen yet.
    CutOff,
}

/// A call, with when it began and ended in ns of CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub(super) mount: usize,
    pub(super) thread: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) op: Op,
    pub(super) outcome: Outcome,
}

impl Call {
    /// After which the others must see it.
    pub(super) fn ended(&self) -> Option<u64> {
        (self.outcome != Outcome::CutOff).then_some(self.end)
    }
}

/// Of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub(super) calls: Vec<Call>,
}

impl History {
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub fn extend(&mut self, other: History) {
        self.calls.extend(other.calls);
    }

    /// Of a mount that was killed then: an error of what had not ended before is the kill's.
    pub fn killed(&mut self, at: u64) {
        for call in &mut self.calls {
            if call.end >= at && matches!(call.outcome, Outcome::Failed(libc::EIO)) {
                call.outcome = Outcome::CutOff;
            }
        }
    }

    /// One call in a line.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        for call in &self.calls {
            serde_json::to_writer(&mut to, call)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }

    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let calls = from.lines().map(|line| Ok(serde_json::from_str(&line?)?));
        Ok(History { calls: calls.collect::<io::Result<_>>()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}/n{}", self.dir, self.name)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Open { at, how, append: false } => write!(f, "open {at} ({how:?})"),
            Op::Open { at, how, append: true } => write!(f, "open {at} ({how:?}, append)"),
            Op::Stat { at } => write!(f, "stat {at}"),
            Op::Unlink { at } => write!(f, "unlink {at}"),
            Op::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Op::List { dir } => write!(f, "list d{dir}"),
            Op::Link { ino, to } => write!(f, "link file {ino} to {to}"),
            Op::StatOpen { ino } => write!(f, "stat file {ino}"),
            Op::Read { ino } => write!(f, "read file {ino}"),
            Op::Write { ino, at, len, tag } => write!(f, "write file {ino}: {len} x {tag} at {at}"),
            Op::Append { ino, len, tag } => write!(f, "append to file {ino}: {len} x {tag}"),
            Op::Cut { ino, size } => write!(f, "truncate file {ino} to {size}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => write!(f, "done"),
            Outcome::Opened(ino) => write!(f, "file {ino}"),
            Outcome::Status { ino, size, nlink } => {
                write!(f, "file {ino}, size {size}, {nlink} links")
            }
            Outcome::Entries(entries) => {
                let entries = entries.iter().map(|(name, ino)| format!("n{name}: {ino}"));
                write!(f, "{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            Outcome::Cells(cells) => write!(f, "{cells:?}"),
            Outcome::Failed(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
            Outcome::Odd(what) => write!(f, "{what}"),
            Outcome::CutOff => write!(f, "cut off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kill_met_is_cut_off() {
        let call = |end, errno| {
            let (op, outcome) = (Op::Read { ino: 1 }, Outcome::Failed(errno));
            Call { mount: 0, thread: 1, start: 1, end, op, outcome }
        };
        let calls = vec![call(5, libc::EIO), call(15, libc::EIO), call(15, libc::ENOENT)];
        let mut history = History { calls };
        history.killed(10);
        let ended: Vec<_> = history.calls.iter().map(Call::ended).collect();
        assert_eq!(ended, [Some(5), None, Some(15)]);
    }

    #[test]
    fn a_history_is_written_and_read() {
        let call = |op, outcome| Call { mount: 1, thread: 2, start: 3, end: 4, op, outcome };
        let place = Place { dir: 0, name: 1 };
        let history = History {
            calls: vec![
                call(Op::List { dir: 0 }, Outcome::Entries([(1, 7), (2, 9)].into())),
                call(Op::Open { at: place, how: How::Create, append: true }, Outcome::Opened(7)),
                call(Op::Read { ino: 7 }, Outcome::Cells(vec![0, 5])),
                call(Op::Unlink { at: place }, Outcome::CutOff),
            ],
        };
        let mut text = Vec::new();
        history.write(&mut text).unwrap();
        assert_eq!(History::read(text.as_slice()).unwrap(), history);
    }
}
