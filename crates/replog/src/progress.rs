//! How far the log is: appended, applied, on disk; and the fault that ended it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use xtfs_core::{Error, Result};

#[derive(Debug)]
pub(crate) struct Progress {
    /// Last entry written to the log.
    appended: AtomicU64,
    /// Last entry whose changes are in the state.
    applied: AtomicU64,
    /// Last entry that survives a power cut.
    durable: watch::Sender<u64>,
    /// Last term of an entry with the index of its first.
    term: Mutex<(u64, u64)>,
    /// Somebody waits for `durable`.
    pub(crate) sync_wanted: Notify,
    fault: OnceLock<Error>,
}

impl Progress {
    /// All that a start finds is on disk: the start itself synced it.
    pub(crate) fn new(appended: u64, applied: u64, term: (u64, u64)) -> Self {
        Progress {
            appended: AtomicU64::new(appended),
            applied: AtomicU64::new(applied),
            durable: watch::Sender::new(appended),
            term: Mutex::new(term),
            sync_wanted: Notify::new(),
            fault: OnceLock::new(),
        }
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Last term of an entry with the index of its first.
    pub(crate) fn term(&self) -> (u64, u64) {
        *self.term.lock()
    }

    pub(crate) fn append(&self, last: u64, term: (u64, u64)) {
        *self.term.lock() = term;
        self.appended.store(last, Ordering::Release);
    }

    /// Entries from `since` on are gone.
    pub(crate) fn truncate(&self, since: u64) {
        let last = since.saturating_sub(1);
        self.appended.store(last, Ordering::Release);
        self.durable.send_if_modified(|durable| {
            let shorter = *durable > last;
            *durable = last.min(*durable);
            shorter
        });
    }

    pub(crate) fn apply(&self, index: u64) {
        self.applied.store(index, Ordering::Release);
    }

    pub(crate) fn make_durable(&self, index: u64) {
        self.durable.send_if_modified(|durable| {
            let farther = *durable < index;
            *durable = index.max(*durable);
            farther
        });
    }

    /// Returns once the entry at `index` survives a power cut.
    pub(crate) async fn wait_durable(&self, index: u64) -> Result<()> {
        let mut durable = self.durable.subscribe();
        loop {
            if *durable.borrow_and_update() >= index {
                return Ok(());
            }
            self.check()?;
            self.sync_wanted.notify_one();
            durable.changed().await.expect("the sender is ours");
        }
    }

    /// The first fault stays; nothing is written after it.
    pub(crate) fn fail(&self, fault: Error) {
        if self.fault.set(fault).is_ok() {
            tracing::error!(fault = %self.fault.get().expect("just set"), "the log has stopped");
        }
        // Wakes who waits for durability in vain.
        self.durable.send_modify(|_| ());
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.fault.get().cloned().map_or(Ok(()), Err)
    }
}
