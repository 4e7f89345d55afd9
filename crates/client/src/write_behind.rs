//! Write-behind: what the only one who looks at a file writes is kept back for a while, and written with what follows.
//!
//! It is kept under an exclusive lease (L10): before anybody else looks the MRC asks it back, and what was kept is
//! written first. What this mount itself asks of the columns or of the MRC is asked after that, too, or has what is kept
//! added to the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Age};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, FILE_SIZE_MAX, Ino, Result};

use crate::dirty::Taken;
use crate::file_state::FileState;
use crate::io::Repeat;
use crate::mount::Mount;

/// Bytes that are kept back of all files. Beyond it writes wait for what was kept of their file.
const KEPT_BACK_MAX: usize = 64 << 20;
/// From so many bytes on those of a file are written.
const FILE_KEPT_BACK_MAX: usize = 1 << 20;
/// Pieces of a file that are apart; more would be too many requests at once.
const PIECES_MAX: usize = 256;
/// Longer writes gain nothing by being kept.
const WRITE_MAX: usize = 256 << 10;
/// What is older is written.
const AGE_MAX: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);
/// Before it is tried again to write what must be written before a lease goes back.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Failures that nobody was there to be told of; beyond it any is forgotten.
const UNTOLD_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct WriteBehind {
    room: Arc<Semaphore>,
    /// Files of which something is kept back.
    files: Mutex<HashMap<Ino, Arc<FileState>>>,
    /// What failed after the last close: who opens the file next is told.
    untold: Mutex<HashMap<Ino, Error>>,
}

impl Default for WriteBehind {
    fn default() -> Self {
        WriteBehind {
            room: Arc::new(Semaphore::new(KEPT_BACK_MAX)),
            files: Mutex::default(),
            untold: Mutex::default(),
        }
    }
}

impl WriteBehind {
    fn room(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        let len = u32::try_from(len).ok()?;
        self.room.clone().try_acquire_many_owned(len).ok()
    }

    /// Whether something of a file is kept back.
    pub(crate) fn holds_file(&self, ino: Ino) -> bool {
        self.files.lock().contains_key(&ino)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.lock().is_empty()
    }

    fn all(&self) -> Vec<Arc<FileState>> {
        self.files.lock().values().cloned().collect()
    }

    pub(crate) fn take_untold(&self, ino: Ino) -> Option<Error> {
        self.untold.lock().remove(&ino)
    }

    /// What is lost of a file, though nobody was told yet.
    pub(crate) fn lost(&self, ino: Ino) -> Result<()> {
        self.untold.lock().get(&ino).cloned().map_or(Ok(()), Err)
    }

    /// The same of any file.
    pub(crate) fn lost_any(&self) -> Result<()> {
        self.untold.lock().values().next().cloned().map_or(Ok(()), Err)
    }

    pub(crate) fn keep_untold(&self, ino: Ino, err: Error) {
        let mut untold = self.untold.lock();
        if untold.len() >= UNTOLD_MAX {
            untold.clear();
        }
        untold.insert(ino, err);
    }
}

impl Mount {
    /// Keeps a write back if that is allowed. `false`: it is to be written now.
    pub(crate) fn keep_back(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        offset: u64,
        data: &Bytes,
    ) -> bool {
        let end = offset.saturating_add(data.len() as u64);
        if data.is_empty()
            || data.len() > WRITE_MAX
            || end > FILE_SIZE_MAX
            || !file.locks.are_none()
            || file.set_ids.are_due()
            || file.check().is_err()
            || file.session != self.cache.of().0
            || !self.is_reached(file)
        {
            return false;
        }
        let Some(room) = self.write_behind.room(data.len()) else { return false };
        let mtime = self.mrc.now();
        let kept = self.kept(|table| {
            // Under the table's lock: once a recall has ended the lease there nothing is kept any more.
            let mut dirty = table.is_exclusive(file.ino).then(|| file.dirty.lock())?;
            if dirty.len() + data.len() > 2 * FILE_KEPT_BACK_MAX || dirty.pieces() >= PIECES_MAX {
                return None;
            }
            // Handles of a session that is over may keep something of it still.
            let mut files = self.write_behind.files.lock();
            let of = files.entry(file.ino).or_insert_with(|| file.clone());
            if !Arc::ptr_eq(of, file) {
                return None;
            }
            dirty.add(offset, data, mtime, Age::now(), room);
            table.keeps_back(file.ino, end, mtime, dirty.len() as u64);
            Some(dirty.len())
        });
        let Some(len) = kept else { return false };
        if len >= FILE_KEPT_BACK_MAX && file.flushing.try_lock().is_ok() {
            self.flush_later(file);
        }
        true
    }

    /// Whether the file's OSDs were there the last time, and have room: else the writer is to hear of it himself.
    pub(crate) fn is_reached(&self, file: &FileState) -> bool {
        let Some(rights) = file.last_rights() else { return false };
        let services = self.mrc.cluster.services();
        rights.layout.striping.columns().all(|index| {
            let target = rights.layout.set(index).primary();
            self.osds.is_reached(target) && services.target(target).is_some_and(has_room)
        })
    }

    /// Returns when all that was kept of the file before is written, or has failed, which its handles are told. `Err`:
    /// it is kept still.
    pub(crate) async fn flush(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        deadline: Instant,
    ) -> Result<()> {
        self.flush_once(file, deadline).await.map(drop)
    }

    /// The same; it is an error as well if it has failed.
    pub(crate) async fn flush_or_fail(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        deadline: Instant,
    ) -> Result<()> {
        self.flush_once(file, deadline).await??;
        self.write_behind.lost(file.ino)
    }

    async fn flush_once(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        deadline: Instant,
    ) -> Result<Result<()>> {
        if !self.write_behind.holds_file(file.ino) {
            return Ok(Ok(()));
        }
        let (mount, file) = (self.clone(), file.clone());
        // Whoever waits for it may give up; what was taken out must arrive all the same.
        let flushing = self.runtime.spawn(async move { mount.flush_now(&file, deadline).await });
        timeout_at(deadline, flushing)
            .await
            .map_err(|_| Error::Deadline("write what was kept of the file".into()))?
            .map_err(|err| Error::Internal(format!("write what was kept: {err}")))?
    }

    /// The same of a file that is found by its number, if something of it is kept.
    pub(crate) async fn flush_inode(self: &Arc<Self>, ino: Ino, deadline: Instant) -> Result<()> {
        let file = self.write_behind.files.lock().get(&ino).cloned();
        match file {
            Some(file) => self.flush(&file, deadline).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn flush_all(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        let files = self.write_behind.all();
        let flushed = join_all(files.iter().map(|file| self.flush(file, deadline))).await;
        flushed.into_iter().collect()
    }

    /// Tries until nothing of the file is kept: before a lease goes back. Only with the session it does not matter any
    /// more.
    pub(crate) async fn flush_surely(self: &Arc<Self>, ino: Ino) {
        // Others wait for this within their own time.
        while let Err(err) = self.flush_inode(ino, Instant::now() + self.timeo / 2).await {
            tracing::warn!(%ino, %err, "write what was kept of a file");
            if self.stop.is_cancelled() {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    pub(crate) async fn flush_all_surely(self: &Arc<Self>) {
        let files = self.write_behind.all();
        join_all(files.iter().map(|file| self.flush_surely(file.ino))).await;
    }

    fn flush_later(self: &Arc<Self>, file: &Arc<FileState>) {
        let (mount, file) = (self.clone(), file.clone());
        self.closing.spawn_on(
            async move {
                if let Err(err) = mount.flush_now(&file, mount.deadline()).await {
                    tracing::warn!(ino = %file.ino, %err, "write what was kept of a file");
                }
            },
            &self.runtime,
        );
    }

    /// Runs as long as the mount.
    pub(crate) async fn keep_flushed(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            for file in self.write_behind.all() {
                let since = file.dirty.lock().since();
                let is_old = since.is_some_and(|since| since.elapsed() >= AGE_MAX);
                if is_old && file.flushing.try_lock().is_ok() {
                    self.flush_later(&file);
                }
            }
        }
    }

    /// `Err`: it is kept still; within: it is lost.
    async fn flush_now(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        deadline: Instant,
    ) -> Result<Result<()>> {
        let _one = file.alone_flushing(deadline).await?;
        if file.dirty.lock().is_empty() {
            return Ok(Ok(()));
        }
        // What a session kept that is over belongs to nobody: others may have changed the file since.
        let lasts = self.mrc.lease().wait(file.session, deadline).await;
        if let Err(err @ Error::Deadline(_)) = lasts {
            return Err(err);
        }
        let taken = file.dirty.lock().take();
        let written = match lasts {
            Ok(()) => self.write_taken(file, taken, deadline).await,
            Err(err) => Err(err),
        };
        if let Err(err) = &written {
            tracing::error!(ino = %file.ino, %err, "what was kept of the file is lost");
            self.report_doubt(file, &file.flushed);
            if file.has_handles() {
                file.fail(err.clone());
            } else {
                self.write_behind.keep_untold(file.ino, err.clone());
            }
        }
        self.cache.with(|table| {
            let left = file.dirty.lock();
            let mut files = self.write_behind.files.lock();
            if files.get(&file.ino).is_some_and(|of| Arc::ptr_eq(of, file)) {
                table.flushed(file.ino, left.end(), left.len() as u64);
                if left.is_empty() {
                    files.remove(&file.ino);
                }
            }
        });
        Ok(written)
    }

    async fn write_taken(
        &self,
        file: &Arc<FileState>,
        taken: Taken,
        deadline: Instant,
    ) -> Result<()> {
        let Taken { extents, mtime, _permit } = taken;
        let once = Repeat { mtime, only_epoch: None };
        let writes = extents.iter().map(async |(offset, data)| {
            let columns = self.write(file, *offset, data, once, deadline).await?;
            let end = offset + data.len() as u64;
            self.report_written(file, &file.flushed, (end, mtime), &columns);
            Ok(())
        });
        join_all(writes).await.into_iter().collect()
    }
}

/// Writes that are kept back must not find out too late that there is none.
fn has_room(target: &xtfs_rpc::TargetRecord) -> bool {
    const ENOUGH: u64 = 8 << 30;
    target.free_bytes >= ENOUGH.min(target.total_bytes / 4)
}
