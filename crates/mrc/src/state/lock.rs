//! Byte-range locks of one inode, with the rules of fcntl(2). Pure.
//!
//! An owner's locks never conflict with each other: a new one replaces what it covers, so that it cuts, converts and
//! merges them. Nothing here waits.

use serde::{Deserialize, Serialize};
use xtfs_core::{Error, Result, SessionId};

/// Ranges of one owner of an inode. At the bound a lock is refused; giving back that would split a range as well, as Linux
/// does when it has no memory.
pub const RANGES_MAX: usize = 4096;

/// Whose a lock is: one owner of a client, which is a process or an open file there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockOwner {
    pub session: SessionId,
    pub owner: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockKind {
    Shared,
    Exclusive,
}

/// From `start` to `end`, both included, so that the last byte of all can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRange {
    start: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    pub owner: LockOwner,
    pub kind: LockKind,
    pub range: LockRange,
    /// On the client, for people.
    pub pid: u32,
    /// What waits as one, by the client's number for it.
    pub process: u64,
}

/// A lock as it is stored, in the row of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLock {
    pub kind: LockKind,
    pub range: LockRange,
    pub pid: u32,
    pub process: u64,
}

/// All locks of an inode, ordered by start, then owner. Ranges of one owner do not overlap, and neighbours of one kind are
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockTable(Vec<HeldLock>);

impl LockRange {
    pub const ALL: LockRange = LockRange { start: 0, end: u64::MAX };

    pub fn new(start: u64, end: u64) -> Result<LockRange> {
        if start > end {
            return Err(Error::Invalid(format!("a lock from {start} to {end}")));
        }
        Ok(LockRange { start, end })
    }

    pub fn start(self) -> u64 {
        self.start
    }

    /// The last byte of it.
    pub fn end(self) -> u64 {
        self.end
    }

    fn overlaps(self, other: LockRange) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether `next` begins right behind.
    fn meets(self, next: LockRange) -> bool {
        self.end.checked_add(1) == Some(next.start)
    }
}

impl HeldLock {
    /// Who is stopped while one of its waits lasts. An owner is one of a single inode; a process may be that of many.
    pub fn process(&self) -> (SessionId, u64) {
        (self.owner.session, self.process)
    }

    fn conflicts(&self, wanted: &HeldLock) -> bool {
        let exclusive = self.kind == LockKind::Exclusive || wanted.kind == LockKind::Exclusive;
        exclusive && self.owner != wanted.owner && self.range.overlaps(wanted.range)
    }
}

impl LockTable {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in the way of a lock, in the order of the file.
    pub fn conflicts<'a>(&'a self, wanted: &'a HeldLock) -> impl Iterator<Item = &'a HeldLock> {
        self.0.iter().filter(move |held| held.conflicts(wanted))
    }

    /// `Locked` if another's is in the way.
    pub fn lock(&mut self, wanted: HeldLock) -> Result<()> {
        if self.conflicts(&wanted).next().is_some() {
            return Err(Error::Locked);
        }
        self.replace(wanted.owner, wanted.range, Some(wanted))
    }

    pub fn unlock(&mut self, owner: LockOwner, range: LockRange) -> Result<()> {
        self.replace(owner, range, None)
    }

    /// Takes in the row of an owner.
    pub(super) fn add(&mut self, owner: LockOwner, own: Vec<OwnLock>) {
        self.0.extend(own.into_iter().map(|OwnLock { kind, range, pid, process }| HeldLock {
            owner,
            kind,
            range,
            pid,
            process,
        }));
        self.0.sort_unstable_by_key(|held| (held.range.start, held.owner));
    }

    /// The row of an owner.
    pub(super) fn of(&self, owner: LockOwner) -> Vec<OwnLock> {
        let own = self.0.iter().filter(|held| held.owner == owner);
        own.map(|&HeldLock { kind, range, pid, process, .. }| OwnLock { kind, range, pid, process })
            .collect()
    }

    fn replace(&mut self, owner: LockOwner, range: LockRange, new: Option<HeldLock>) -> Result<()> {
        let mut own = Vec::new();
        let mut table = Vec::with_capacity(self.0.len() + 2);
        for held in &self.0 {
            match held.owner == owner {
                true => cut(held, range, &mut own),
                false => table.push(*held),
            }
        }
        own.extend(new);
        own.sort_unstable_by_key(|held| held.range.start);
        own.dedup_by(|next, last| {
            let joined = joins(last, next);
            if joined {
                last.range.end = next.range.end;
            }
            joined
        });
        // Of an owner that is at the bound already, whatever leaves it no more is carried out.
        if own.len() > RANGES_MAX.max(self.0.len() - table.len()) {
            return Err(Error::TooManyLocks);
        }
        table.extend(own);
        table.sort_unstable_by_key(|held| (held.range.start, held.owner));
        self.0 = table;
        Ok(())
    }
}

/// What is left of `held` outside `range`.
fn cut(held: &HeldLock, range: LockRange, left: &mut Vec<HeldLock>) {
    if !held.range.overlaps(range) {
        left.push(*held);
        return;
    }
    if held.range.start < range.start {
        let range = LockRange { start: held.range.start, end: range.start - 1 };
        left.push(HeldLock { range, ..*held });
    }
    if held.range.end > range.end {
        let range = LockRange { start: range.end + 1, end: held.range.end };
        left.push(HeldLock { range, ..*held });
    }
}

fn joins(first: &HeldLock, next: &HeldLock) -> bool {
    first.owner == next.owner && first.kind == next.kind && first.range.meets(next.range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: u64 = 12;

    fn owner(owner: u64) -> LockOwner {
        LockOwner { session: SessionId(owner % 2), owner: owner / 2 }
    }

    fn held(of: u64, kind: LockKind, start: u64, end: u64) -> HeldLock {
        HeldLock {
            owner: owner(of),
            kind,
            range: LockRange::new(start, end).unwrap(),
            pid: 7,
            process: of,
        }
    }

    #[test]
    fn own_locks_merge_split_and_convert() {
        use LockKind::{Exclusive, Shared};
        let mut table = LockTable::default();
        table.lock(held(0, Shared, 0, 4)).unwrap();
        table.lock(held(0, Shared, 5, 9)).unwrap();
        assert_eq!(table.0, [held(0, Shared, 0, 9)]);
        table.lock(held(0, Exclusive, 3, 5)).unwrap();
        let split = [held(0, Shared, 0, 2), held(0, Exclusive, 3, 5), held(0, Shared, 6, 9)];
        assert_eq!(table.0, split);
        assert_eq!(table.lock(held(1, Shared, 5, 6)), Err(Error::Locked));
        table.lock(held(1, Shared, 6, u64::MAX)).unwrap();
        assert_eq!(table.lock(held(0, Exclusive, 9, 9)), Err(Error::Locked));
        table.unlock(owner(0), LockRange::ALL).unwrap();
        assert_eq!(table.0, [held(1, Shared, 6, u64::MAX)]);
        table.unlock(owner(1), LockRange::new(8, 8).unwrap()).unwrap();
        assert_eq!(table.0, [held(1, Shared, 6, 7), held(1, Shared, 9, u64::MAX)]);
        table.unlock(owner(1), LockRange::ALL).unwrap();
        assert!(table.is_empty());
        assert!(LockRange::new(2, 1).is_err());
    }

    #[test]
    fn an_owner_has_a_bound_and_others_do_not_share_it() {
        let mut table = LockTable::default();
        let all = (0..RANGES_MAX as u64).map(|at| held(0, LockKind::Shared, at * 2, at * 2));
        table.0.extend(all);
        let more = held(0, LockKind::Exclusive, 1, 1);
        assert_eq!(table.lock(more), Err(Error::TooManyLocks));
        table.lock(held(1, LockKind::Shared, 1, 1)).unwrap();
        table.unlock(owner(1), LockRange::ALL).unwrap();
        table.lock(held(0, LockKind::Exclusive, 0, 4)).unwrap();
        table.lock(more).unwrap();
    }

    #[test]
    fn a_table_is_put_together_from_the_rows_of_its_owners() {
        let mut table = LockTable::default();
        for (of, at) in [(0, 5), (1, 3), (0, 1)] {
            table.lock(held(of, LockKind::Exclusive, at, at)).unwrap();
        }
        let mut again = LockTable::default();
        for of in [1, 0] {
            again.add(owner(of), table.of(owner(of)));
        }
        assert_eq!(again, table);
    }

    type Step = (u64, u8, u64, u64);

    fn at(byte: u64) -> usize {
        usize::try_from(byte).unwrap()
    }

    proptest! {
        #[test]
        fn a_table_is_as_a_model_of_single_bytes(
            steps in proptest::collection::vec((0..4u64, 0..3u8, 0..BYTES, 0..BYTES), 1..60)
        ) {
            let mut table = LockTable::default();
            let mut model: Vec<Vec<(u64, LockKind)>> = vec![Vec::new(); at(BYTES)];
            for step in steps {
                check(&mut table, &mut model, step)?;
            }
        }
    }

    fn check(
        table: &mut LockTable,
        model: &mut [Vec<(u64, LockKind)>],
        (of, kind, a, b): Step,
    ) -> Result<(), TestCaseError> {
        let (start, end) = (a.min(b), a.max(b));
        let kind = [None, Some(LockKind::Shared), Some(LockKind::Exclusive)][usize::from(kind)];
        let bytes = at(start)..=at(end);
        let free = |held: &(u64, LockKind)| {
            held.0 == of || (held.1, kind) == (LockKind::Shared, Some(LockKind::Shared))
        };
        let allowed = kind.is_none() || model[bytes.clone()].iter().flatten().all(free);
        let done = match kind {
            Some(kind) => table.lock(held(of, kind, start, end)),
            None => table.unlock(owner(of), LockRange::new(start, end).unwrap()),
        };
        prop_assert_eq!(done.is_ok(), allowed);
        if allowed {
            for byte in &mut model[bytes] {
                byte.retain(|held| held.0 != of);
                byte.extend(kind.map(|kind| (of, kind)));
            }
        }
        for (at, byte) in model.iter().enumerate() {
            let here =
                |lock: &&HeldLock| lock.range.start <= at as u64 && at as u64 <= lock.range.end;
            let locks: Vec<_> = table.0.iter().filter(here).collect();
            prop_assert_eq!(locks.len(), byte.len());
            for (of, kind) in byte {
                prop_assert!(locks.iter().any(|it| (it.owner, it.kind) == (owner(*of), *kind)));
            }
        }
        for pair in table.0.iter().flat_map(|a| table.0.iter().map(move |b| (a, b))) {
            prop_assert!(!joins(pair.0, pair.1), "not merged: {:?}", pair);
        }
        Ok(())
    }
}
