//! Who waits for a lock, in the memory of the server that decides: in which order they are told to ask again, and who
//! would wait for ever.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use xtfs_core::{Error, Ino, Result, SessionId, VolumeId};

use crate::state::{HeldLock, LockTable};

/// Waits at once; beyond it the client is told to come later.
const WAITERS_MAX: usize = 16_384;

type File = (VolumeId, Ino);
/// Of a session; stopped while it waits.
type Process = (SessionId, u64);
/// In order of arrival. The second number tells waits apart that have the same ticket.
type Place = (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Place, Waiting>,
    of_file: HashMap<File, BTreeSet<Place>>,
    of_process: HashMap<Process, BTreeSet<Place>>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    file: File,
    wanted: HeldLock,
    told: Arc<Notify>,
}

/// One wait; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    waiters: &'a Waiters,
    place: Place,
    told: Arc<Notify>,
}

impl State {
    fn add(&mut self, place: Place, waiting: Waiting) {
        self.of_file.entry(waiting.file).or_default().insert(place);
        self.of_process.entry(waiting.wanted.process()).or_default().insert(place);
        self.waiting.insert(place, waiting);
    }

    fn remove(&mut self, place: Place) {
        let Some(waiting) = self.waiting.remove(&place) else { return };
        remove_from(&mut self.of_file, &waiting.file, place);
        remove_from(&mut self.of_process, &waiting.wanted.process(), place);
    }

    fn at<'a, K: Eq + Hash>(
        &'a self,
        index: &'a HashMap<K, BTreeSet<Place>>,
        key: &K,
    ) -> impl Iterator<Item = &'a Waiting> {
        index.get(key).into_iter().flatten().filter_map(|place| self.waiting.get(place))
    }
}

fn remove_from<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<Place>>, key: &K, place: Place) {
    if let Some(places) = index.get_mut(key) {
        places.remove(&place);
        if places.is_empty() {
            index.remove(key);
        }
    }
}

impl Waiters {
    /// Waits for `wanted` from now on. `Deadlock` if those who are in its way wait for its process; `None` if there is no
    /// room. `locks` reads the locks of an inode.
    pub(crate) fn enter(
        &self,
        file: File,
        wanted: HeldLock,
        ticket: u64,
        locks: impl Fn(VolumeId, Ino) -> Result<LockTable>,
    ) -> Result<Option<Wait<'_>>> {
        // Held while the tables are read: of two who wait for each other, one comes first and waits.
        let mut state = self.0.lock();
        let blocked_by = |file: File, wanted: &HeldLock| {
            let table = locks(file.0, file.1)?;
            Ok(table.conflicts(wanted).map(HeldLock::process).collect::<Vec<_>>())
        };
        let blockers = |of: Process| {
            let mut processes = Vec::new();
            for it in state.at(&state.of_process, &of) {
                processes.extend(blocked_by(it.file, &it.wanted)?);
            }
            Ok(processes)
        };
        if waits_for(wanted.process(), blocked_by(file, &wanted)?, blockers)? {
            return Err(Error::Deadlock);
        }
        if state.waiting.len() >= WAITERS_MAX {
            return Ok(None);
        }
        state.last += 1;
        let place = (ticket, state.last);
        let told = Arc::new(Notify::new());
        state.add(place, Waiting { file, wanted, told: told.clone() });
        Ok(Some(Wait { waiters: self, place, told }))
    }

    /// Locks of the inode were given back: tells those who can have theirs now, one after the other.
    pub(crate) fn tell(
        &self,
        volume: VolumeId,
        ino: Ino,
        locks: impl FnOnce() -> Result<LockTable>,
    ) {
        let state = self.0.lock();
        let file = (volume, ino);
        let mut here = state.at(&state.of_file, &file).peekable();
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
        self.waiters.0.lock().remove(self.place);
    }
}

/// Whether `process` is among those whom `first`, whom it waits for, wait for themselves.
fn waits_for(
    process: Process,
    first: Vec<Process>,
    blockers: impl Fn(Process) -> Result<Vec<Process>>,
) -> Result<bool> {
    let mut seen = HashSet::new();
    let mut next = first;
    while let Some(at) = next.pop() {
        if at == process {
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
    use super::*;
    use crate::state::{LockKind, LockOwner, LockRange};

    /// Of a process that has an owner of its own for each file.
    fn lock(process: u64, at: u64) -> HeldLock {
        HeldLock {
            owner: LockOwner { session: SessionId(process), owner: at },
            kind: LockKind::Exclusive,
            range: LockRange::new(at, at).unwrap(),
            pid: 0,
            process,
        }
    }

    fn table(held: &[(u64, u64)]) -> LockTable {
        let mut table = LockTable::default();
        for &(process, at) in held {
            table.lock(lock(process, at)).unwrap();
        }
        table
    }

    const FILE: File = (VolumeId(1), Ino(20));

    #[test]
    fn a_ring_of_waits_is_refused_to_the_last_and_ends_with_a_wait() {
        let waiters = Waiters::default();
        let held = [(1, 1), (2, 2), (3, 3)];
        let enter =
            |process, at| waiters.enter(FILE, lock(process, at), 1, |_, _| Ok(table(&held)));
        let first = enter(1, 2).unwrap();
        let _second = enter(2, 3).unwrap();
        assert_eq!(enter(3, 1).unwrap_err(), Error::Deadlock);
        let _other = enter(4, 1).unwrap();
        drop(first);
        let _third = enter(3, 1).unwrap();
        let state = waiters.0.lock();
        assert_eq!((state.waiting.len(), state.of_file.len(), state.of_process.len()), (3, 1, 3));
    }

    #[test]
    fn a_ring_over_two_files_is_refused() {
        let waiters = Waiters::default();
        let other = (VolumeId(1), Ino(21));
        let locks = |_, ino| Ok(table(if ino == FILE.1 { &[(1, 1)] } else { &[(2, 2)] }));
        let first = waiters.enter(other, lock(1, 2), 1, locks).unwrap();
        assert_eq!(waiters.enter(FILE, lock(2, 1), 1, locks).unwrap_err(), Error::Deadlock);
        drop(first);
        assert!(waiters.enter(FILE, lock(2, 1), 1, locks).unwrap().is_some());
        let state = waiters.0.lock();
        assert_eq!((state.waiting.len(), state.of_file.len(), state.of_process.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn who_finds_no_room_comes_again_and_keeps_its_place() {
        let waiters = Waiters::default();
        let held = |_, _| Ok(table(&[(1, 1)]));
        let enter = |process, ticket| waiters.enter(FILE, lock(process, 1), ticket, held).unwrap();
        let others = (10..).take(WAITERS_MAX);
        let mut waiting: Vec<_> = others.map(|process| enter(process, process).unwrap()).collect();
        assert!(enter(2, 5).is_none());
        // Who would wait for ever is told so, room or not.
        let ring = waiters.enter(FILE, lock(1, 2), 6, |_, _| Ok(table(&[(1, 1), (10, 2)])));
        assert_eq!(ring.unwrap_err(), Error::Deadlock);
        waiting.pop();
        let came_back = enter(2, 5).unwrap();
        assert!(enter(3, 6).is_none());
        waiters.tell(FILE.0, FILE.1, || Ok(LockTable::default()));
        came_back.told().await;
        let behind = tokio::time::timeout(std::time::Duration::ZERO, waiting[0].told()).await;
        assert!(behind.is_err());
        drop((waiting, came_back));
        assert!(waiters.0.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_came_first_is_told_first_and_alone() {
        let waiters = Waiters::default();
        let held = |held: &'static [(u64, u64)]| move |_, _| Ok(table(held));
        let enter = |process, ticket| {
            waiters.enter(FILE, lock(process, 1), ticket, held(&[(1, 1)])).unwrap().unwrap()
        };
        let late = enter(2, 9);
        let early = enter(3, 5);
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
