//! Who waits for a lock, in the memory of the server that decides: in which order they are told to ask again, and who
//! would wait for ever.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use xtfs_core::{Error, Ino, Result, VolumeId};

use crate::state::{HeldLock, LockOwner, LockTable};

/// Waits at once; beyond it the client is told to come later.
const WAITERS_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In order of arrival. The second number tells waits apart that have the same ticket.
    waiting: BTreeMap<(u64, u64), Waiting>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    volume: VolumeId,
    ino: Ino,
    wanted: HeldLock,
    told: Arc<Notify>,
}

/// One wait; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    waiters: &'a Waiters,
    place: (u64, u64),
    told: Arc<Notify>,
}

impl Waiters {
    /// Waits for `wanted` from now on. `Deadlock` if those who are in its way wait for its owner. `locks` reads the locks
    /// of an inode.
    pub(crate) fn enter(
        &self,
        (volume, ino): (VolumeId, Ino),
        wanted: HeldLock,
        ticket: u64,
        locks: impl Fn(VolumeId, Ino) -> Result<LockTable>,
    ) -> Result<Wait<'_>> {
        // Held while the tables are read: of two who wait for each other, one comes first and waits.
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITERS_MAX {
            return Err(Error::Overloaded("too many wait for locks".into()));
        }
        let blockers = |of: LockOwner| {
            let mut owners = Vec::new();
            for it in state.waiting.values().filter(|it| it.wanted.owner == of) {
                let table = locks(it.volume, it.ino)?;
                owners.extend(table.conflicts(&it.wanted).map(|held| held.owner));
            }
            Ok(owners)
        };
        let table = locks(volume, ino)?;
        let first = table.conflicts(&wanted).map(|held| held.owner).collect();
        if waits_for(wanted.owner, first, blockers)? {
            return Err(Error::Deadlock);
        }
        state.last += 1;
        let place = (ticket, state.last);
        let told = Arc::new(Notify::new());
        state.waiting.insert(place, Waiting { volume, ino, wanted, told: told.clone() });
        Ok(Wait { waiters: self, place, told })
    }

    /// Locks of the inode were given back: tells those who can have theirs now, one after the other.
    pub(crate) fn tell(
        &self,
        volume: VolumeId,
        ino: Ino,
        locks: impl FnOnce() -> Result<LockTable>,
    ) {
        let state = self.0.lock();
        let mut here =
            state.waiting.values().filter(|it| (it.volume, it.ino) == (volume, ino)).peekable();
        if here.peek().is_none() {
            return;
        }
        // If it cannot be read, all ask.
        let mut table = locks().unwrap_or_default();
        for it in here {
            if table.lock(it.wanted).is_ok() {
                it.told.notify_one();
            }
        }
    }

    pub(crate) fn tell_all(&self) {
        for it in self.0.lock().waiting.values() {
            it.told.notify_one();
        }
    }
}

impl Wait<'_> {
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiters.0.lock().waiting.remove(&self.place);
    }
}

/// Whether `owner` is among those whom `first`, whom it waits for, wait for themselves.
fn waits_for(
    owner: LockOwner,
    first: Vec<LockOwner>,
    blockers: impl Fn(LockOwner) -> Result<Vec<LockOwner>>,
) -> Result<bool> {
    let mut seen = HashSet::new();
    let mut next = first;
    while let Some(at) = next.pop() {
        if at == owner {
            return Ok(true);
        }
        if seen.insert(at) {
            next.extend(blockers(at)?);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use xtfs_core::SessionId;

    use super::*;
    use crate::state::{LockKind, LockRange};

    fn lock(owner: u64, at: u64) -> HeldLock {
        HeldLock {
            owner: LockOwner { session: SessionId(owner), owner },
            kind: LockKind::Exclusive,
            range: LockRange::new(at, at).unwrap(),
            pid: 0,
        }
    }

    fn table(held: &[(u64, u64)]) -> LockTable {
        let mut table = LockTable::default();
        for &(owner, at) in held {
            table.lock(lock(owner, at)).unwrap();
        }
        table
    }

    const FILE: (VolumeId, Ino) = (VolumeId(1), Ino(20));

    #[test]
    fn a_ring_of_waits_is_refused_to_the_last_and_ends_with_a_wait() {
        let waiters = Waiters::default();
        let held = [(1, 1), (2, 2), (3, 3)];
        let enter = |owner, at| waiters.enter(FILE, lock(owner, at), 1, |_, _| Ok(table(&held)));
        let first = enter(1, 2).unwrap();
        let _second = enter(2, 3).unwrap();
        assert_eq!(enter(3, 1).unwrap_err(), Error::Deadlock);
        let _other = enter(4, 1).unwrap();
        drop(first);
        let _third = enter(3, 1).unwrap();
        assert_eq!(waiters.0.lock().waiting.len(), 3);
    }

    #[tokio::test]
    async fn who_came_first_is_told_first_and_alone() {
        let waiters = Waiters::default();
        let held = |held: &'static [(u64, u64)]| move |_, _| Ok(table(held));
        let late = waiters.enter(FILE, lock(2, 1), 9, held(&[(1, 1)])).unwrap();
        let early = waiters.enter(FILE, lock(3, 1), 5, held(&[(1, 1)])).unwrap();
        waiters.tell(FILE.0, FILE.1, || Ok(table(&[(1, 1)])));
        waiters.tell(FILE.0, Ino(99), || Ok(LockTable::default()));
        waiters.tell(FILE.0, FILE.1, || Ok(LockTable::default()));
        early.told().await;
        let more = tokio::time::timeout(std::time::Duration::ZERO, late.told()).await;
        assert!(more.is_err());
        drop(early);
        waiters.tell(FILE.0, FILE.1, || Ok(LockTable::default()));
        late.told().await;
    }
}
