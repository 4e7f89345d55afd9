//! Locks of open files, over all mounts. The MRC decides; here is known which of the kernel's owners may hold one, so
//! that a close asks the MRC only if it must.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, Ino, Result};
use xtfs_proto::v1;

use crate::file::OpenFile;
use crate::file_state::FileState;
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

/// Until a waiter for whom the MRC has no place asks again.
const FULL_PAUSE: Duration = Duration::from_secs(2);

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

/// A lock that was taken.
#[derive(Clone, Copy, Debug)]
pub struct LockGrant {
    number: u64,
    /// The owner had nothing of the file before.
    first: bool,
}

/// The owners of one inode, with what the MRC knows them by: a number that is used once, so that giving back late hits
/// nobody else.
#[derive(Debug)]
pub(crate) struct LockOwners {
    known: Mutex<HashMap<LockOwner, Known>>,
    /// Closes whose locks are being given back; those would be in the way of new ones.
    releasing: watch::Sender<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    /// Locks asked for and not answered.
    asked: u32,
    /// Locks that were taken, or may have been.
    grants: u64,
    /// Open handles through which the owner locked. The kernel may give the name of an open file that is gone to a new one
    /// before it says so: that has the locks then.
    handles: u32,
}

/// A handle's: which owners locked through it.
pub(crate) type LockedThrough = Mutex<HashMap<LockOwner, u64>>;

impl Default for LockOwners {
    fn default() -> Self {
        LockOwners { known: Mutex::default(), releasing: watch::Sender::new(0) }
    }
}

impl LockOwners {
    /// Before a lock is asked for. `number` makes one.
    fn enter(
        &self,
        owner: LockOwner,
        through: &LockedThrough,
        number: impl FnOnce() -> u64,
    ) -> u64 {
        let mut through = through.lock();
        let mut known = self.known.lock();
        let known = known.entry(owner).or_insert_with(|| Known {
            number: number(),
            asked: 0,
            grants: 0,
            handles: 0,
        });
        known.asked += 1;
        if through.insert(owner, known.number) != Some(known.number) {
            known.handles += 1;
        }
        known.number
    }

    /// After it was granted. `None`: the file was closed meanwhile, the lock is nobody's.
    fn granted(&self, owner: LockOwner, number: u64) -> Option<LockGrant> {
        let mut known = self.known.lock();
        let known = known.get_mut(&owner).filter(|known| known.number == number)?;
        let first = known.grants == 0 && known.asked == 1;
        known.asked -= 1;
        known.grants += 1;
        Some(LockGrant { number, first })
    }

    /// After it was not. `for_sure`: it will not be, either.
    fn refused(&self, owner: LockOwner, number: u64, for_sure: bool) {
        let mut all = self.known.lock();
        let Some(known) = all.get_mut(&owner).filter(|known| known.number == number) else {
            return;
        };
        known.asked -= 1;
        known.grants += u64::from(!for_sure);
        if known.grants == 0 && known.asked == 0 {
            all.remove(&owner);
        }
    }

    /// Whether any of a handle's may hold something.
    fn are_any(&self, through: &LockedThrough) -> bool {
        let through = through.lock();
        if through.is_empty() {
            return false;
        }
        let known = self.known.lock();
        through.iter().any(|(owner, number)| {
            known.get(owner).is_some_and(|it| it.number == *number && it.grants > 0)
        })
    }

    /// Whether nobody holds a lock of the file, or asks for one.
    pub(crate) fn are_none(&self) -> bool {
        self.known.lock().is_empty()
    }

    fn find(&self, owner: LockOwner) -> Option<Known> {
        self.known.lock().get(&owner).copied()
    }

    /// Holds nothing any more, unless a lock came since it was `seen`.
    fn forget(&self, owner: LockOwner, seen: Known) {
        let mut known = self.known.lock();
        if known.get(&owner).is_some_and(|now| now.asked == 0 && now.grants == seen.grants) {
            known.remove(&owner);
        }
    }

    /// All that the owner has: it closes the file. What is asked for still gives itself back.
    fn take(&self, owner: LockOwner, through: &LockedThrough) -> Option<u64> {
        through.lock().remove(&owner);
        let known = self.known.lock().remove(&owner)?;
        (known.grants > 0).then_some(known.number)
    }

    /// Owners that have no handle left without this one.
    fn take_of_handle(&self, through: &LockedThrough) -> Vec<u64> {
        let through = std::mem::take(&mut *through.lock());
        let mut known = self.known.lock();
        let mut taken = Vec::new();
        for (owner, number) in through {
            let Some(it) = known.get_mut(&owner).filter(|it| it.number == number) else { continue };
            it.handles -= 1;
            if it.handles == 0 {
                taken.extend((it.grants > 0).then_some(number));
                known.remove(&owner);
            }
        }
        taken
    }

    async fn wait_released(&self, deadline: Instant) -> Result<()> {
        let mut releasing = self.releasing.subscribe();
        let released = timeout_at(deadline, releasing.wait_for(|releasing| *releasing == 0)).await;
        // Not closed as long as there is a receiver.
        released.map(drop).map_err(|_| Error::Deadline("locks that are being given back".into()))
    }
}

/// Locks of a close on their way back; new ones of the inode wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Releasing {
    numbers: Vec<u64>,
    until: Arc<Until>,
}

#[derive(Debug)]
struct Until(Arc<FileState>);

impl Releasing {
    fn new(state: &Arc<FileState>, numbers: Vec<u64>) -> Option<Self> {
        if numbers.is_empty() {
            return None;
        }
        state.locks.releasing.send_modify(|count| *count += 1);
        Some(Releasing { numbers, until: Arc::new(Until(state.clone())) })
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        self.0.locks.releasing.send_modify(|count| *count -= 1);
    }
}

impl OpenFile {
    /// Takes a lock, or says `Locked` at once. To be carried on to its end: see [`OpenFile::abandon_lock`].
    pub async fn lock(&self, owner: LockOwner, lock: FileLock) -> Result<LockGrant> {
        let (mount, owners) = (self.mount(), &self.state().locks);
        let deadline = mount.deadline();
        mount.register(self.state(), deadline).await?;
        owners.wait_released(deadline).await?;
        self.check_session()?;
        let number = owners.enter(owner, self.locked_through(), || mount.lock_number());
        let request = self.lock_request((owner, number), lock);
        let session = self.state().session;
        let asked = mount.mrc.change_in::<method::Lock>(session, request, deadline).await;
        if let Err(err) = asked {
            owners.refused(owner, number, !err.is_retryable() || err == Error::SessionLost);
            return Err(err);
        }
        if let Some(grant) = owners.granted(owner, number) {
            return Ok(grant);
        }
        let request = unlock(mount, self.ino(), number, (lock.start, lock.end));
        mount.mrc.give_back::<method::Lock>(session, request, ()).await;
        Err(Error::Locked)
    }

    /// Nobody wants the lock any more. If the owner had others of the file, it may be part of them now, and goes with them.
    pub async fn abandon_lock(&self, lock: FileLock, grant: LockGrant) {
        if !grant.first {
            return;
        }
        let request = unlock(self.mount(), self.ino(), grant.number, (lock.start, lock.end));
        self.mount().mrc.give_back::<method::Lock>(self.state().session, request, ()).await;
    }

    /// Returns when the lock is free. May be dropped.
    pub async fn wait_for_lock(
        &self,
        owner: LockOwner,
        lock: FileLock,
        mut ticket: LockTicket,
    ) -> Result<LockTicket> {
        self.mount().register(self.state(), self.mount().deadline()).await?;
        loop {
            self.check_session()?;
            let known = self.state().locks.find(owner);
            let number = known.map_or_else(|| self.mount().lock_number(), |known| known.number);
            let request = self.lock_request((owner, number), lock);
            let request = v1::LockRequest { ticket: ticket.0, ..request };
            let reply = self.mount().mrc.ask::<method::WaitLock>(&ITSELF, request).await?;
            ticket = LockTicket(reply.ticket);
            if reply.free {
                return Ok(ticket);
            }
            if reply.full {
                tokio::time::sleep(FULL_PAUSE).await;
            }
        }
    }

    /// What is in the way of a lock.
    pub async fn test_lock(&self, owner: LockOwner, lock: FileLock) -> Result<Option<FileLock>> {
        self.mount().register(self.state(), self.mount().deadline()).await?;
        self.check_session()?;
        // Zero is nobody's number.
        let number = self.state().locks.find(owner).map_or(0, |known| known.number);
        let request = self.lock_request((owner, number), lock);
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
        let (mount, owners) = (self.mount(), &self.state().locks);
        let Some(known) = owners.find(owner) else { return Ok(()) };
        self.check_session()?;
        let request = unlock(mount, self.ino(), known.number, (start, end));
        let session = self.state().session;
        mount.mrc.change_in::<method::Lock>(session, request, mount.deadline()).await?;
        if (start, end) == (0, u64::MAX) {
            owners.forget(owner, known);
        }
        Ok(())
    }

    /// Any close of the file by a process drops all that the process has locked of it.
    pub async fn unlock_all(&self, owner: LockOwner) {
        let number = self.state().locks.take(owner, self.locked_through());
        if let Some(releasing) = Releasing::new(self.state(), number.into_iter().collect()) {
            self.give_back(releasing).await;
        }
    }

    /// What was locked through this handle alone, which is gone: from now on new locks wait for it to be given back.
    pub(crate) fn releasing(&self) -> Option<Releasing> {
        let numbers = self.state().locks.take_of_handle(self.locked_through());
        Releasing::new(self.state(), numbers)
    }

    pub(crate) async fn give_back(&self, releasing: Releasing) {
        let (mount, session) = (self.mount(), self.state().session);
        for number in releasing.numbers {
            let request = unlock(mount, self.ino(), number, (0, u64::MAX));
            let until = releasing.until.clone();
            mount.mrc.give_back::<method::Lock>(session, request, until).await;
        }
    }

    /// A handle whose locks went with a lost session fails until it is closed: somebody else may hold them now.
    pub(crate) fn check_locks(&self) -> Result<()> {
        if self.state().locks.are_any(self.locked_through()) {
            self.check_session()
        } else {
            Ok(())
        }
    }

    /// The same, and waits until it is known that the session is not lost.
    pub(crate) async fn locks_hold(&self) -> Result<()> {
        if !self.state().locks.are_any(self.locked_through()) {
            return Ok(());
        }
        self.check_session()?;
        let mount = self.mount();
        mount.mrc.lease().wait(self.state().session, mount.deadline()).await
    }

    fn check_session(&self) -> Result<()> {
        self.state().check()?;
        if self.mount().mrc.session() == self.state().session {
            Ok(())
        } else {
            Err(Error::SessionLost)
        }
    }

    fn lock_request(&self, (owner, number): (LockOwner, u64), lock: FileLock) -> v1::LockRequest {
        let kind = match lock.kind {
            LockKind::Shared => v1::LockKind::Shared,
            LockKind::Exclusive => v1::LockKind::Exclusive,
        };
        let FileLock { start, end, pid, .. } = lock;
        v1::LockRequest {
            volume: self.mount().mrc.volume.0,
            ino: self.ino().0,
            owner: number,
            kind: kind.into(),
            start,
            end,
            pid,
            process: owner.0,
            ..v1::LockRequest::default()
        }
    }
}

fn unlock(mount: &Mount, ino: Ino, owner: u64, (start, end): (u64, u64)) -> v1::LockRequest {
    v1::LockRequest {
        volume: mount.mrc.volume.0,
        ino: ino.0,
        owner,
        kind: v1::LockKind::Unlock.into(),
        start,
        end,
        ..v1::LockRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: LockOwner = LockOwner(77);

    #[test]
    fn an_owners_name_that_is_used_again_keeps_what_the_new_file_locked() {
        let (owners, old, new) =
            (LockOwners::default(), LockedThrough::default(), Mutex::default());
        assert_eq!(owners.enter(OWNER, &old, || 1), 1);
        assert!(owners.granted(OWNER, 1).unwrap().first);
        // The kernel says that the old file is gone only now.
        assert_eq!(owners.enter(OWNER, &new, || 2), 1);
        assert!(!owners.granted(OWNER, 1).unwrap().first);
        assert!(owners.take_of_handle(&old).is_empty());
        assert!(owners.are_any(&new) && !owners.are_any(&old));
        assert_eq!(owners.take_of_handle(&new), [1]);
        assert!(owners.find(OWNER).is_none());
    }

    #[test]
    fn a_lock_that_comes_after_its_close_is_nobodys() {
        let (owners, through) = (LockOwners::default(), LockedThrough::default());
        owners.enter(OWNER, &through, || 1);
        assert_eq!(owners.take(OWNER, &through), None);
        assert!(through.lock().is_empty());
        assert!(owners.granted(OWNER, 1).is_none());
        assert_eq!(owners.enter(OWNER, &through, || 2), 2);
        assert!(owners.granted(OWNER, 1).is_none() && owners.granted(OWNER, 2).is_some());
    }

    #[test]
    fn what_was_refused_holds_nothing_and_what_nobody_knows_may() {
        let (owners, through) = (LockOwners::default(), LockedThrough::default());
        owners.enter(OWNER, &through, || 1);
        owners.refused(OWNER, 1, true);
        assert!(!owners.are_any(&through) && owners.find(OWNER).is_none());
        owners.enter(OWNER, &through, || 2);
        owners.refused(OWNER, 2, false);
        assert!(owners.are_any(&through));
        let seen = owners.find(OWNER).unwrap();
        owners.enter(OWNER, &through, || 3);
        owners.forget(OWNER, seen);
        assert!(!owners.granted(OWNER, 2).unwrap().first);
        assert_eq!(owners.take_of_handle(&through), [2]);
    }
}
