//! Locks of open files, over all mounts. The MRC decides; here is known which of the kernel's owners may hold one, so
//! that a close asks the MRC only if it must.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use xtfs_core::{Error, Result};
use xtfs_proto::v1;

use crate::file::OpenFile;
use crate::file_state::FileState;
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    Shared,
    Exclusive,
}

/// Bytes from `start` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLock {
    pub kind: LockKind,
    pub start: u64,
    pub end: u64,
    /// Process that asks, or holds it. Zero: one of another mount.
    pub pid: u32,
}

/// The kernel's name for who locks: a process, or an open file. It is used again for another once that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockOwner(pub u64);

/// Place in the queue of those who wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct LockTicket(u64);

/// The owners of one inode, with what the MRC knows them by: a number that is used once, so that giving back late hits
/// nobody else.
#[derive(Debug)]
pub(crate) struct LockOwners {
    known: Mutex<HashMap<LockOwner, Known>>,
    /// Locks of closed handles that are being given back; they would be in the way of new ones.
    releasing: watch::Sender<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    /// Locks asked for and taken, so that one that comes during an unlock is noticed.
    grants: u64,
}

/// A handle's: which owners locked through it.
pub(crate) type LockedThrough = Mutex<HashMap<LockOwner, u64>>;

impl Default for LockOwners {
    fn default() -> Self {
        LockOwners { known: Mutex::default(), releasing: watch::Sender::new(0) }
    }
}

impl LockOwners {
    /// Before a lock is asked for.
    fn enter(&self, owner: LockOwner, mount: &Mount) -> u64 {
        let mut known = self.known.lock();
        let known =
            known.entry(owner).or_insert_with(|| Known { number: mount.lock_number(), grants: 0 });
        known.grants += 1;
        known.number
    }

    /// After it was granted. `false`: the owner has another number by now.
    fn granted(&self, owner: LockOwner, number: u64) -> bool {
        let mut known = self.known.lock();
        let known = known.entry(owner).or_insert(Known { number, grants: 0 });
        known.grants += 1;
        known.number == number
    }

    /// Whether any of a handle's may still hold something.
    fn are_any(&self, through: &HashMap<LockOwner, u64>) -> bool {
        let known = self.known.lock();
        through
            .iter()
            .any(|(owner, number)| known.get(owner).is_some_and(|it| it.number == *number))
    }

    fn find(&self, owner: LockOwner) -> Option<Known> {
        self.known.lock().get(&owner).copied()
    }

    /// Holds nothing any more, unless a lock came since it was `seen`.
    fn forget(&self, owner: LockOwner, seen: Known) {
        let mut known = self.known.lock();
        if known.get(&owner).is_some_and(|now| now.grants == seen.grants) {
            known.remove(&owner);
        }
    }

    /// Takes the owner away, if it is still the one with `number`.
    fn take(&self, owner: LockOwner, number: Option<u64>) -> Option<u64> {
        let mut known = self.known.lock();
        let found = known.get(&owner)?.number;
        if number.is_some_and(|number| number != found) {
            return None;
        }
        known.remove(&owner);
        Some(found)
    }
}

/// Owners of a handle that is being released; new locks of the inode wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Releasing {
    state: Arc<FileState>,
    numbers: Vec<u64>,
}

impl Drop for Releasing {
    fn drop(&mut self) {
        self.state.locks.releasing.send_modify(|count| *count -= 1);
    }
}

impl OpenFile {
    /// Takes a lock, or says `Locked` at once.
    pub async fn lock(&self, owner: LockOwner, lock: FileLock) -> Result<()> {
        let owners = &self.state().locks;
        // Not closed as long as there is a receiver.
        let _ = owners.releasing.subscribe().wait_for(|releasing| *releasing == 0).await;
        self.check_session()?;
        let number = owners.enter(owner, self.mount());
        self.locked_through().lock().insert(owner, number);
        let request = self.lock_request(number, lock);
        self.mount().mrc.change::<method::Lock>(&ITSELF, request).await?;
        if owners.granted(owner, number) {
            return Ok(());
        }
        // Another thread closed the file meanwhile and locked it again: this lock is nobody's.
        unlock(self.mount(), self.state(), number, (lock.start, lock.end)).await?;
        Err(Error::Locked)
    }

    /// Returns when it is worth asking for the lock again, some seconds later at the latest. May be dropped.
    pub async fn wait_for_lock(
        &self,
        owner: LockOwner,
        lock: FileLock,
        ticket: LockTicket,
    ) -> Result<LockTicket> {
        self.check_session()?;
        let number = self.state().locks.enter(owner, self.mount());
        let request = v1::LockRequest { ticket: ticket.0, ..self.lock_request(number, lock) };
        let reply = self.mount().mrc.ask::<method::WaitLock>(&ITSELF, request).await?;
        Ok(LockTicket(reply.ticket))
    }

    /// What is in the way of a lock.
    pub async fn test_lock(&self, owner: LockOwner, lock: FileLock) -> Result<Option<FileLock>> {
        self.check_session()?;
        // Zero is nobody's number.
        let number = self.state().locks.find(owner).map_or(0, |known| known.number);
        let request = self.lock_request(number, lock);
        let reply = self.mount().mrc.ask::<method::TestLock>(&ITSELF, request).await?;
        let Some(held) = reply.conflict else { return Ok(None) };
        let kind = match held.kind() {
            v1::LockKind::Shared => LockKind::Shared,
            _ => LockKind::Exclusive,
        };
        let pid = if held.elsewhere { 0 } else { held.pid };
        Ok(Some(FileLock { kind, start: held.start, end: held.end, pid }))
    }

    /// Gives back what the owner has of the bytes from `start` to `end`.
    pub async fn unlock(&self, owner: LockOwner, start: u64, end: u64) -> Result<()> {
        let owners = &self.state().locks;
        let Some(known) = owners.find(owner) else { return Ok(()) };
        self.check_session()?;
        unlock(self.mount(), self.state(), known.number, (start, end)).await?;
        if (start, end) == (0, u64::MAX) {
            owners.forget(owner, known);
        }
        Ok(())
    }

    /// Any close of the file by a process drops all that the process has locked of it.
    pub async fn unlock_all(&self, owner: LockOwner) -> Result<()> {
        match self.state().locks.take(owner, None) {
            Some(number) if self.check_session().is_ok() => {
                unlock(self.mount(), self.state(), number, (0, u64::MAX)).await
            }
            _ => Ok(()),
        }
    }

    /// What was locked through this handle alone, which is gone: from now on new locks wait for it to be given back.
    pub(crate) fn releasing(&self) -> Option<Releasing> {
        let through = std::mem::take(&mut *self.locked_through().lock());
        let owners = &self.state().locks;
        let numbers: Vec<u64> = through
            .into_iter()
            .filter_map(|(owner, number)| owners.take(owner, Some(number)))
            .collect();
        if numbers.is_empty() {
            return None;
        }
        owners.releasing.send_modify(|count| *count += 1);
        Some(Releasing { state: self.state().clone(), numbers })
    }

    pub(crate) async fn release_locks(&self, releasing: Releasing) {
        for &number in &releasing.numbers {
            if self.check_session().is_err() {
                return;
            }
            let done = unlock(self.mount(), self.state(), number, (0, u64::MAX)).await;
            if let Err(err) = done {
                tracing::warn!(ino = %self.ino(), %err, "give back the locks of a closed file");
            }
        }
    }

    /// A handle whose locks went with a lost session fails until it is closed: somebody else may hold them now.
    pub(crate) fn check_locks(&self) -> Result<()> {
        let through = self.locked_through().lock();
        if through.is_empty() || !self.state().locks.are_any(&through) {
            return Ok(());
        }
        self.check_session()
    }

    fn check_session(&self) -> Result<()> {
        self.state().check()?;
        if self.mount().mrc.session() == self.state().session {
            Ok(())
        } else {
            Err(Error::SessionLost)
        }
    }

    fn lock_request(&self, number: u64, lock: FileLock) -> v1::LockRequest {
        let kind = match lock.kind {
            LockKind::Shared => v1::LockKind::Shared,
            LockKind::Exclusive => v1::LockKind::Exclusive,
        };
        let FileLock { start, end, pid, .. } = lock;
        v1::LockRequest {
            header: None,
            volume: self.mount().mrc.volume.0,
            ino: self.ino().0,
            owner: number,
            kind: kind.into(),
            start,
            end,
            pid,
            ticket: 0,
        }
    }
}

async fn unlock(
    mount: &Mount,
    state: &FileState,
    owner: u64,
    (start, end): (u64, u64),
) -> Result<()> {
    let request = v1::LockRequest {
        header: None,
        volume: mount.mrc.volume.0,
        ino: state.ino.0,
        owner,
        kind: v1::LockKind::Unlock.into(),
        start,
        end,
        pid: 0,
        ticket: 0,
    };
    mount.mrc.change::<method::Lock>(&ITSELF, request).await.map(drop)
}
