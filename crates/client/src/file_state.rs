//! What the mount knows of an inode that it holds open: layout, rights, errors. Shared by all its
//! handles.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, RwLockWriteGuard};
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, FileEpoch, Floor, Ino, Result, SessionId};
use xtfs_proto::v1;

use crate::dirty::Dirty;
use crate::layout::FileLayout;
use crate::local_open::LocalOpens;
use crate::locks::LockOwners;
use crate::report::Report;
use crate::set_ids::SetIds;

/// A capability is renewed when this much of its time is left, so that it does not run out on the
/// way, nor by the difference of clocks.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) ino: Ino,
    /// Under which the handles were opened.
    pub(crate) session: SessionId,
    /// Read: a write is on its way. Write: nothing may be, as the file is cut, or written again.
    pub(crate) writing: tokio::sync::RwLock<()>,
    /// Held over finding the end of the file and writing there, and while a turn is being ended.
    pub(crate) appending: Arc<tokio::sync::Mutex<Turn>>,
    /// Held by whoever fetches new rights.
    pub(crate) renewing: tokio::sync::Mutex<()>,
    /// Held by whoever tells the MRC of opens that it does not know.
    pub(crate) registering: tokio::sync::Mutex<()>,
    /// What all handles wrote, also those that are being closed.
    pub(crate) report: Mutex<Report>,
    pub(crate) locks: LockOwners,
    pub(crate) set_ids: SetIds,
    /// What is kept back. Changed under the lock of the cache's table, which says whether that is allowed.
    pub(crate) dirty: Mutex<Dirty>,
    /// Held by whoever writes what was kept back.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    /// What of it was written, and no handle has reported yet.
    pub(crate) flushed: Mutex<Report>,
    inner: Mutex<Inner>,
}

/// The session's turn to append to the file, which only one session has at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Asked for, and not ended.
    pub(crate) begun: Option<Begun>,
    /// Appends so far.
    pub(crate) uses: u64,
}

#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// Of the MRC's log when it was given. `None`: nobody knows whether it was.
    pub(crate) term: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    layout: Option<Arc<FileLayout>>,
    grant: Option<Arc<Grant>>,
    /// How often rights have come from the MRC.
    renewals: u64,
    handles: u32,
    writers: u32,
    local_opens: LocalOpens,
    /// Background failures so far, and the last of them.
    failures: u64,
    failure: Option<Error>,
    /// Nobody was told of the last failure yet.
    untold: bool,
    /// The inode vanished: every use fails.
    vanished: bool,
}

/// Right to the data for a time.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) capability: Bytes,
    pub(crate) file_epoch: FileEpoch,
    pub(crate) floor: Floor,
    pub(crate) write: bool,
    expires: Instant,
}

/// Layout and rights of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) layout: Arc<FileLayout>,
    pub(crate) grant: Arc<Grant>,
    /// Says which rights these are, so that they are not renewed twice.
    pub(crate) renewals: u64,
}

/// All open files of a mount, by inode.
#[derive(Debug, Default)]
pub(crate) struct FileTable(Mutex<HashMap<Ino, Weak<FileState>>>);

impl FileTable {
    /// The state that all handles of `session` share.
    pub(crate) fn enter(&self, ino: Ino, session: SessionId) -> Arc<FileState> {
        let mut files = self.0.lock();
        if let Some(state) = files.get(&ino).and_then(Weak::upgrade)
            && state.session == session
        {
            return state;
        }
        if files.len() >= 1024 && files.len().is_power_of_two() {
            files.retain(|_, state| state.strong_count() > 0);
        }
        let state = Arc::new(FileState::new(ino, session));
        files.insert(ino, Arc::downgrade(&state));
        state
    }

    pub(crate) fn find(&self, ino: Ino) -> Option<Arc<FileState>> {
        self.0.lock().get(&ino).and_then(Weak::upgrade)
    }

    pub(crate) fn all(&self) -> Vec<Ino> {
        let files = self.0.lock();
        files.iter().filter(|(_, file)| file.strong_count() > 0).map(|(ino, _)| *ino).collect()
    }
}

impl FileState {
    fn new(ino: Ino, session: SessionId) -> Self {
        FileState {
            ino,
            session,
            writing: tokio::sync::RwLock::default(),
            appending: Arc::default(),
            renewing: tokio::sync::Mutex::default(),
            registering: tokio::sync::Mutex::default(),
            report: Mutex::default(),
            locks: LockOwners::default(),
            set_ids: SetIds::default(),
            dirty: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            flushed: Mutex::default(),
            inner: Mutex::default(),
        }
    }

    pub(crate) fn opened(&self, write: bool) {
        let mut inner = self.inner.lock();
        inner.handles += 1;
        inner.writers += u32::from(write);
    }

    /// Nothing more is asked of the handle.
    pub(crate) fn released(&self) {
        self.inner.lock().handles -= 1;
    }

    pub(crate) fn has_handles(&self) -> bool {
        self.inner.lock().handles > 0
    }

    /// What the handle wrote has arrived.
    pub(crate) fn closed(&self, write: bool) {
        self.inner.lock().writers -= u32::from(write);
    }

    /// Returns when no write is on its way; none begins before the guard is dropped.
    pub(crate) async fn alone(&self, deadline: Instant) -> Result<RwLockWriteGuard<'_, ()>> {
        let alone = timeout_at(deadline, self.writing.write()).await;
        alone.map_err(|_| Error::Deadline(format!("writes to inode {}", self.ino)))
    }

    /// Returns when nobody writes what was kept back; nobody begins to before the guard is dropped.
    pub(crate) async fn alone_flushing(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>> {
        let alone = timeout_at(deadline, self.flushing.lock()).await;
        alone.map_err(|_| Error::Deadline(format!("writes that were kept of inode {}", self.ino)))
    }

    /// Handles that were opened without the MRC.
    pub(crate) fn local_opens<T>(&self, then: impl FnOnce(&mut LocalOpens) -> T) -> T {
        then(&mut self.inner.lock().local_opens)
    }

    pub(crate) fn has_writers(&self) -> bool {
        self.inner.lock().writers > 0
    }

    /// Takes in what an open or a renewal, asked for at `asked`, brought.
    pub(crate) fn grant(
        &self,
        layout: Option<v1::FileLayout>,
        grant: Option<v1::Grant>,
        asked: Instant,
    ) -> Result<()> {
        let layout = layout.map(FileLayout::try_from).transpose()?.map(Arc::new);
        let grant = grant.map(|grant| Grant {
            capability: grant.capability,
            file_epoch: FileEpoch(grant.file_epoch),
            floor: Floor(grant.floor),
            write: grant.write,
            expires: asked + Duration::from_millis(grant.valid_ms.into()),
        });
        let mut inner = self.inner.lock();
        inner.renewals += 1;
        if layout.is_some() {
            inner.layout = layout;
        }
        // An answer that was overtaken, or a right to read beside one to write, adds nothing.
        let held = inner.grant.as_ref();
        let better = |new: &Grant| {
            held.is_none_or(|held| {
                (new.file_epoch, new.write) >= (held.file_epoch, held.write)
                    || held.expires <= asked
            })
        };
        if let Some(new) = grant.filter(better) {
            inner.grant = Some(Arc::new(new));
        }
        Ok(())
    }

    /// Rights that still hold for a while. `Err`: the renewals so far.
    pub(crate) fn rights(&self, write: bool, now: Instant) -> Result<Rights, u64> {
        let inner = self.inner.lock();
        let renewals = inner.renewals;
        match (&inner.layout, &inner.grant) {
            (Some(layout), Some(grant))
                if (grant.write || !write) && now + MARGIN < grant.expires =>
            {
                Ok(Rights { layout: layout.clone(), grant: grant.clone(), renewals })
            }
            _ => Err(renewals),
        }
    }

    /// As they are, though they may have run out meanwhile.
    pub(crate) fn last_rights(&self) -> Option<Rights> {
        let inner = self.inner.lock();
        let (layout, grant) = (inner.layout.clone()?, inner.grant.clone()?);
        Some(Rights { layout, grant, renewals: inner.renewals })
    }

    pub(crate) fn renewals(&self) -> u64 {
        self.inner.lock().renewals
    }

    /// A failure that no application was told of yet; each handle tells it once.
    pub(crate) fn fail(&self, err: Error) {
        let mut inner = self.inner.lock();
        inner.failures += 1;
        inner.failure = Some(err);
        inner.untold = true;
    }

    /// The inode is not what the handles were opened on any more.
    pub(crate) fn vanish(&self) {
        self.inner.lock().vanished = true;
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.inner.lock().vanished {
            let text = format!("inode {} was lost in a restart of the MRC", self.ino);
            return Err(Error::Internal(text));
        }
        Ok(())
    }

    /// The last failure, if there were any after the first `seen`.
    pub(crate) fn failure_since(&self, seen: &mut u64) -> Result<()> {
        let mut inner = self.inner.lock();
        let known = std::mem::replace(seen, inner.failures);
        if inner.failures <= known {
            return Ok(());
        }
        inner.untold = false;
        inner.failure.clone().map_or(Ok(()), Err)
    }

    /// Those that a new handle need not tell.
    pub(crate) fn failures_told(&self) -> u64 {
        let inner = self.inner.lock();
        inner.failures - u64::from(inner.untold)
    }

    /// The last handle is closed: a failure that it has not told.
    pub(crate) fn take_untold(&self) -> Option<Error> {
        let mut inner = self.inner.lock();
        let untold = inner.handles == 0 && std::mem::take(&mut inner.untold);
        inner.failure.clone().filter(|_| untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> v1::FileLayout {
        let member = v1::Member { target: vec![7; 16].into(), state: 1 };
        v1::FileLayout {
            striping: Some(v1::StripeLayout { stripe_size: 4096, stripe_width: 1 }),
            data: 5,
            version: 0,
            sets: vec![v1::ReplicaSet { id: 1, epoch: 1, members: vec![member] }],
        }
    }

    fn grant(file_epoch: u64, write: bool) -> v1::Grant {
        v1::Grant { file_epoch, write, valid_ms: 60_000, ..v1::Grant::default() }
    }

    #[test]
    fn a_newer_epoch_wins_and_a_right_to_write_stays() {
        let table = FileTable::default();
        let state = table.enter(Ino(2), SessionId(1));
        let now = Instant::now();
        assert_eq!(state.rights(false, now).unwrap_err(), 0);
        state.grant(Some(layout()), Some(grant(1, true)), now).unwrap();
        state.grant(Some(layout()), Some(grant(1, false)), now).unwrap();
        assert!(state.rights(true, now).is_ok());
        state.grant(Some(layout()), Some(grant(2, false)), now).unwrap();
        assert_eq!(state.rights(false, now).unwrap().grant.file_epoch, FileEpoch(2));
        assert_eq!(state.rights(true, now).unwrap_err(), 3);
        assert!(state.rights(false, now + Duration::from_secs(55)).is_err());
    }

    #[test]
    fn handles_share_a_state_within_a_session() {
        let table = FileTable::default();
        let state = table.enter(Ino(2), SessionId(1));
        assert!(Arc::ptr_eq(&state, &table.enter(Ino(2), SessionId(1))));
        assert!(!Arc::ptr_eq(&state, &table.enter(Ino(2), SessionId(2))));
    }

    #[test]
    fn a_failure_is_told_once_to_each_handle() {
        let state = FileTable::default().enter(Ino(2), SessionId(1));
        let (mut a, mut b) = (0, 0);
        state.fail(Error::Internal("lost".into()));
        for seen in [&mut a, &mut b] {
            assert!(state.failure_since(seen).is_err());
            assert!(state.failure_since(seen).is_ok());
        }
    }
}
