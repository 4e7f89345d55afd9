//! Locks of files: the kernel hands all of them to us and keeps none.
//!
//! fuser hides whether flock(2) or fcntl(2) asked, so the two are one kind and conflict with each other. It also delivers
//! no interrupts: whoever waits here cannot be killed unless we look after its signals ourselves.

use std::sync::Arc;
use std::time::Duration;

use fuser::{Errno, ReplyEmpty, ReplyLock};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use xtfs_client::{FileLock, LockKind, LockOwner, LockTicket, OpenFile};
use xtfs_core::{Error, Result};

use super::Shared;
use super::answer::Answer;
use crate::signals::{Signals, signals};

/// How often a waiting task's signals are looked at.
const SIGNALS_INTERVAL: Duration = Duration::from_millis(100);
/// The kernel's end of file; it takes no larger offset.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// What fcntl(2) and flock(2) come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetLock {
    pub(super) handle: u64,
    pub(super) owner: LockOwner,
    pub(super) start: u64,
    pub(super) end: u64,
    /// F_RDLCK, F_WRLCK, F_UNLCK.
    pub(super) kind: i32,
    /// Process, and the thread of it that waits.
    pub(super) pid: u32,
    pub(super) task: u32,
    pub(super) wait: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum LockAnswer {
    Done,
    /// To be told only to a task that has a signal to take: to any other the kernel would show an errno of its own.
    Interrupted,
}

impl SetLock {
    fn end(self) -> u64 {
        if self.end >= OFFSET_MAX { u64::MAX } else { self.end }
    }

    /// `None`: it is given back.
    fn lock(self) -> Result<Option<FileLock>> {
        let kind = match self.kind {
            libc::F_RDLCK => LockKind::Shared,
            libc::F_WRLCK => LockKind::Exclusive,
            libc::F_UNLCK => return Ok(None),
            kind => return Err(Error::Invalid(format!("kind {kind} of a lock"))),
        };
        Ok(Some(FileLock { kind, start: self.start, end: self.end(), pid: self.pid }))
    }
}

impl Shared {
    pub(super) async fn set_lock(&self, set: SetLock) -> Result<LockAnswer> {
        let file = self.handles.file(set.handle)?.file;
        let Some(lock) = set.lock()? else {
            file.unlock(set.owner, set.start, set.end()).await?;
            return Ok(LockAnswer::Done);
        };
        let mut ticket = LockTicket::default();
        let mut look = interval_at(Instant::now() + SIGNALS_INTERVAL, SIGNALS_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.take_lock(&file, set, lock, &mut look).await {
                Err(Error::Locked) if set.wait => {}
                taken => return taken,
            }
            let waiting = file.wait_for_lock(set.owner, lock, ticket);
            ticket = tokio::select! {
                told = waiting => told?,
                () = until(set.task, &mut look, |seen| seen != Signals::None) => {
                    return Ok(LockAnswer::Interrupted);
                }
                () = self.ending.cancelled() => return Err(ended()),
            };
        }
    }

    /// One attempt. It is not waited for any longer if the task is killed; other signals wait for its end, as what came of
    /// it must be known to whoever lives on.
    async fn take_lock(
        &self,
        file: &Arc<OpenFile>,
        set: SetLock,
        lock: FileLock,
        look: &mut Interval,
    ) -> Result<LockAnswer> {
        let asked = file.clone();
        let mut attempt = Box::pin(async move { asked.lock(set.owner, lock).await });
        let answer = tokio::select! {
            taken = &mut attempt => return taken.map(|_| LockAnswer::Done),
            () = until(set.task, look, |seen| seen == Signals::Killed) => Ok(LockAnswer::Interrupted),
            () = self.ending.cancelled() => Err(ended()),
        };
        let file = file.clone();
        self.tasks.spawn(async move {
            if let Ok(grant) = attempt.await {
                file.abandon_lock(lock, grant).await;
            }
        });
        answer
    }

    pub(super) async fn test_lock(&self, test: SetLock) -> Result<Option<FileLock>> {
        let file = self.handles.file(test.handle)?.file;
        match test.lock()? {
            Some(lock) => file.test_lock(test.owner, lock).await,
            None => Ok(None),
        }
    }
}

/// Looks at a task's signals until there is one that ends a wait.
async fn until(task: u32, look: &mut Interval, ends: impl Fn(Signals) -> bool) {
    loop {
        look.tick().await;
        if ends(signals(task)) {
            return;
        }
    }
}

fn ended() -> Error {
    Error::Unavailable("the file system is being unmounted".into())
}

impl Answer<LockAnswer> for ReplyEmpty {
    fn answer(self, _shared: &Shared, result: Result<LockAnswer, Errno>) {
        match result {
            Ok(LockAnswer::Done) => self.ok(),
            Ok(LockAnswer::Interrupted) => self.error(Errno::EINTR),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Option<FileLock>> for ReplyLock {
    fn answer(self, _shared: &Shared, result: Result<Option<FileLock>, Errno>) {
        match result {
            Ok(None) => self.locked(0, OFFSET_MAX, libc::F_UNLCK, 0),
            Ok(Some(held)) => {
                let kind = match held.kind {
                    LockKind::Shared => libc::F_RDLCK,
                    LockKind::Exclusive => libc::F_WRLCK,
                };
                self.locked(held.start, held.end.min(OFFSET_MAX), kind, held.pid);
            }
            Err(errno) => self.error(errno),
        }
    }
}
