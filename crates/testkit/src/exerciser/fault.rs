//! Faults that the runner must find: a check that finds none of them proves nothing.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::op::{Kind, Onto, Op, Outcome, Ranges, Room, Sought};
use super::system::System;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    LostLastByte,
    StaleSize,
    EntryMissing,
    UnlinkIgnored,
    ExclusiveIgnored,
    CutIgnored,
    AppendAtZero,
    RenamedFileLost,
    LinkNotCounted,
    XattrLost,
    HoleWithGarbage,
    WrongErrno,
    PunchIgnored,
    CopyCutShort,
    DataOverlooked,
    LockNotTaken,
    OwnerKept,
}

pub const FAULTS: [Fault; 17] = [
    Fault::LostLastByte,
    Fault::StaleSize,
    Fault::EntryMissing,
    Fault::UnlinkIgnored,
    Fault::ExclusiveIgnored,
    Fault::CutIgnored,
    Fault::AppendAtZero,
    Fault::RenamedFileLost,
    Fault::LinkNotCounted,
    Fault::XattrLost,
    Fault::HoleWithGarbage,
    Fault::WrongErrno,
    Fault::PunchIgnored,
    Fault::CopyCutShort,
    Fault::DataOverlooked,
    Fault::LockNotTaken,
    Fault::OwnerKept,
];

/// A system that does one thing wrong, seldom.
pub(super) struct Faulty<S> {
    inner: S,
    fault: Fault,
    random: StdRng,
}

impl<S: System> Faulty<S> {
    pub(super) fn new(inner: S, fault: Fault, seed: u64) -> Self {
        Faulty { inner, fault, random: StdRng::seed_from_u64(seed) }
    }

    /// What is asked of the sound system instead; `None`: nothing.
    fn bend(&self, op: &Op) -> Option<Op> {
        let mut bent = op.clone();
        match (self.fault, &mut bent) {
            (Fault::LostLastByte, Op::Write { len, .. }) => *len = len.saturating_sub(1),
            (Fault::AppendAtZero, Op::Open { flags, .. }) => flags.append = false,
            (Fault::ExclusiveIgnored, Op::Open { flags, .. }) => flags.exclusive = false,
            (Fault::CopyCutShort, Op::Ranges { act: Ranges::CopyFrom { len, .. }, .. }) => {
                *len = len.saturating_sub(1)
            }
            (Fault::UnlinkIgnored, Op::Unlink { .. })
            | (Fault::CutIgnored, Op::Resize { .. } | Op::Truncate { .. })
            | (Fault::XattrLost, Op::SetXattr { .. })
            | (
                Fault::PunchIgnored,
                Op::Ranges { act: Ranges::Allocate { room: Room::Punch, .. }, .. },
            )
            | (Fault::LockNotTaken, Op::Ranges { act: Ranges::Lock { .. }, .. })
            | (Fault::OwnerKept, Op::Chown { .. }) => return None,
            _ => {}
        }
        Some(bent)
    }

    fn spoil(&mut self, mount: usize, op: &Op, outcome: &mut Outcome) {
        match (self.fault, op, outcome) {
            (Fault::LostLastByte, Op::Write { len, .. }, Outcome::Count(count)) => *count = *len,
            (Fault::CopyCutShort, Op::Ranges { act, .. }, Outcome::Count(count)) => {
                *count +=
                    usize::from(matches!(act, Ranges::CopyFrom { len, .. } if *count + 1 == *len));
            }
            (
                Fault::DataOverlooked,
                Op::Ranges { act: Ranges::Seek { sought: Sought::Data, .. }, .. },
                Outcome::Position(position),
            ) => *position += 1,
            (Fault::StaleSize, _, Outcome::Stat(stat)) if stat.kind == Kind::File => {
                stat.size = stat.size.map(|size| size / 2);
            }
            (Fault::EntryMissing, _, Outcome::Entries(entries)) => drop(entries.pop_first()),
            (Fault::LinkNotCounted, _, Outcome::Stat(stat)) => stat.nlink = 1,
            (Fault::HoleWithGarbage, Op::Read { .. }, Outcome::Bytes(data)) => {
                if let Some(zero) = data.iter_mut().find(|byte| **byte == 0) {
                    *zero = 1;
                }
            }
            (Fault::WrongErrno, _, Outcome::Failed(errno)) if *errno == libc::ENOTEMPTY => {
                *errno = libc::EEXIST;
            }
            (Fault::RenamedFileLost, Op::Rename { to, onto: Onto::Replace, .. }, Outcome::Done) => {
                drop(self.inner.perform(mount, &Op::Unlink { path: to.clone() }))
            }
            _ => {}
        }
    }
}

impl<S: System> System for Faulty<S> {
    fn perform(&mut self, mount: usize, op: &Op) -> Outcome {
        if !self.random.random_bool(0.05) {
            return self.inner.perform(mount, op);
        }
        let Some(bent) = self.bend(op) else { return Outcome::Done };
        let mut outcome = self.inner.perform(mount, &bent);
        self.spoil(mount, op, &mut outcome);
        outcome
    }
}
