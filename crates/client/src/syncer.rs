//! Keeps what was written until the OSDs have synced it, and has them sync: at fsync, after a
//! while, and when too much is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use xtfs_core::{BootNumber, ColumnId, Error, FileEpoch, Result, TargetId};

use crate::file_state::FileState;
use crate::io::Repeat;
use crate::layout::FileLayout;
use crate::mount::Mount;
use crate::unsynced::{Due, Outcome, Unsynced, Written};

/// Most bytes that are kept because an OSD may still forget them. From half of it on they are
/// synced; at the bound writes wait.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;
/// What a kept write takes besides its data.
pub(crate) const WRITTEN_OVERHEAD: usize = 256;
/// What is older is synced.
const UNSYNCED_AGE_MAX: Duration = Duration::from_secs(5);
/// A target that does not sync within this gives its room to others.
const BACKGROUND_SYNC_TIMEOUT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// Columns of one request.
const SYNC_COLUMNS_MAX: usize = 256;

type Kept = Unsynced<Arc<FileState>, OwnedSemaphorePermit>;

#[derive(Debug)]
pub(crate) struct Syncer {
    kept: Mutex<Kept>,
    room: Arc<Semaphore>,
    /// Somebody waits for room, or soon will.
    short: Notify,
    /// Targets that are being synced in the background.
    busy: Mutex<BTreeSet<TargetId>>,
}

impl Default for Syncer {
    fn default() -> Self {
        Syncer {
            kept: Mutex::default(),
            room: Arc::new(Semaphore::new(UNSYNCED_BYTES_MAX)),
            short: Notify::new(),
            busy: Mutex::default(),
        }
    }
}

impl Syncer {
    /// Waits until `len` bytes may be kept.
    pub(crate) async fn room(&self, len: usize, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        if self.is_short() {
            self.short.notify_one();
        }
        let len = u32::try_from(len).expect("a write is cut to a part of the bound");
        timeout_at(deadline, self.room.clone().acquire_many_owned(len))
            .await
            .map_err(|_| Error::Deadline("OSDs do not sync what was written before".into()))
            .map(|permit| permit.expect("the semaphore is never closed"))
    }

    pub(crate) fn add(
        &self,
        at: (TargetId, ColumnId),
        file: &Arc<FileState>,
        written: Written<OwnedSemaphorePermit>,
    ) {
        self.kept.lock().add(at, file, written, std::time::Instant::now());
    }

    /// The file was cut to `size` by this client, and is now at `file_epoch` if that is known.
    pub(crate) fn cut(
        &self,
        layout: &FileLayout,
        volume: xtfs_core::VolumeId,
        size: u64,
        file_epoch: Option<FileEpoch>,
    ) {
        let mut kept = self.kept.lock();
        for index in layout.striping.columns() {
            let len = layout.striping.column_len(size, index);
            kept.cut(layout.column(volume, index), len, file_epoch);
        }
    }

    /// Whether something is not synced yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.lock().is_empty()
    }

    /// Whether anything of a file is not synced yet.
    pub(crate) fn holds_file(&self, file: xtfs_core::Ino) -> bool {
        self.due(|_, _| true).iter().any(|due| due.file.ino == file)
    }

    fn is_short(&self) -> bool {
        self.room.available_permits() < UNSYNCED_BYTES_MAX / 2
    }

    fn due(
        &self,
        wanted: impl Fn(&ColumnId, std::time::Instant) -> bool,
    ) -> Vec<Due<Arc<FileState>>> {
        self.kept.lock().due(wanted)
    }
}

impl Mount {
    /// Has everything of the file that this mount wrote synced.
    pub(crate) async fn sync_file(&self, file: &FileState, deadline: Instant) -> Result<()> {
        let Some(rights) = file.last_rights() else { return Ok(()) };
        let data = rights.layout.data;
        // A write that returned before is in the list; one on its way need not be.
        self.sync_due(|column, _| column.data == data, deadline).await
    }

    /// The same at a close of the file, which does not wait for a target that is silent already: a process that is
    /// killed closes its files one after the other, and would not be gone before it has waited for each.
    pub(crate) async fn sync_closed(&self, file: &FileState) -> Result<()> {
        let Some(rights) = file.last_rights() else { return Ok(()) };
        let data = rights.layout.data;
        let due = self.syncer.due(|column, _| column.data == data);
        if let Some(silent) = due.iter().find(|due| self.osds.is_silent(due.target)) {
            let whom = self.osds.describe(silent.target);
            return Err(Error::Deadline(format!("{whom}: it has been silent for long")));
        }
        self.sync_columns(due, self.deadline()).await
    }

    /// Has everything synced.
    pub(crate) async fn sync_all(&self, deadline: Instant) -> Result<()> {
        self.sync_due(|_, _| true, deadline).await
    }

    /// Runs as long as the mount. Each target is synced by itself, so that one that does not answer
    /// holds up no other.
    pub(crate) async fn keep_synced(self: Arc<Self>) {
        loop {
            let short = tokio::time::timeout(TICK, self.syncer.short.notified()).await.is_ok();
            let now = std::time::Instant::now();
            let due = self
                .syncer
                .due(|_, since| short || now.saturating_duration_since(since) >= UNSYNCED_AGE_MAX);
            let targets: BTreeSet<_> = due.iter().map(|due| due.target).collect();
            for target in targets {
                if !self.syncer.busy.lock().insert(target) {
                    continue;
                }
                let mount = self.clone();
                let columns = due.iter().filter(|due| due.target == target).cloned().collect();
                let syncing = async move {
                    let synced = mount.sync_target(target, columns).await;
                    mount.syncer.busy.lock().remove(&target);
                    // What came meanwhile found it busy.
                    if synced && mount.syncer.is_short() {
                        mount.syncer.short.notify_one();
                    }
                };
                self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(syncing));
            }
        }
    }

    async fn sync_target(&self, target: TargetId, due: Vec<Due<Arc<FileState>>>) -> bool {
        let columns: Vec<_> = due.iter().map(|due| due.column).collect();
        let deadline = Instant::now() + self.timeo.min(BACKGROUND_SYNC_TIMEOUT);
        let Err(err) = self.sync_columns(due, deadline).await else { return true };
        tracing::warn!(%target, %err, "what was written is not synced yet");
        if self.syncer.is_short() {
            // It must not hold up writes to others: its data is forgotten, but not that it was
            // written. If it has restarted the next fsync fails.
            let mut kept = self.syncer.kept.lock();
            for column in columns {
                kept.shed(column);
            }
        }
        false
    }

    async fn sync_due(
        &self,
        wanted: impl Fn(&ColumnId, std::time::Instant) -> bool,
        deadline: Instant,
    ) -> Result<()> {
        self.sync_columns(self.syncer.due(wanted), deadline).await
    }

    async fn sync_columns(
        &self,
        mut due: Vec<Due<Arc<FileState>>>,
        deadline: Instant,
    ) -> Result<()> {
        while !due.is_empty() {
            let mut targets = BTreeMap::<TargetId, Vec<_>>::new();
            for column in due {
                targets.entry(column.target).or_default().push(column);
            }
            let batches = targets.iter().flat_map(|(target, columns)| {
                columns.chunks(SYNC_COLUMNS_MAX).map(|batch| (*target, batch))
            });
            let synced = batches.map(|(target, batch)| self.sync_batch(target, batch, deadline));
            let mut again = Vec::new();
            for restarted in join_all(synced).await {
                again.extend(restarted?);
            }
            // Written again under a new boot number: these need another sync.
            due = again;
        }
        Ok(())
    }

    /// Returns what had to be written again.
    async fn sync_batch(
        &self,
        target: TargetId,
        batch: &[Due<Arc<FileState>>],
        deadline: Instant,
    ) -> Result<Vec<Due<Arc<FileState>>>> {
        let columns: Vec<_> = batch.iter().map(|due| due.column).collect();
        let boot = self.osds.sync(target, &columns, deadline).await?;
        let mut again = Vec::new();
        let mut failed = Ok(());
        for due in batch {
            let outcome = {
                // Not while another has taken the writes out to repeat them.
                let _there = timeout_at(deadline, due.file.writing.read())
                    .await
                    .map_err(|_| Error::Deadline("writing again after a restart".into()))?;
                let now = std::time::Instant::now();
                self.syncer.kept.lock().synced(due.column, due.mark, boot, now)
            };
            let repeated = match outcome {
                Outcome::Synced => continue,
                Outcome::Lost => Err(lost(due)),
                Outcome::Restarted => self.write_again(due, boot, deadline).await,
            };
            match repeated {
                Ok(mark) => again.push(Due { mark, ..due.clone() }),
                Err(err) => {
                    tracing::error!(
                        ino = %due.file.ino, column = %due.column, %target, %err,
                        "a restarted OSD has forgotten data that cannot be written again"
                    );
                    due.file.fail(err.clone());
                    failed = Err(err);
                }
            }
        }
        failed.map(|()| again)
    }

    /// Repeats what a restarted store may have forgotten. Returns the new mark.
    async fn write_again(
        &self,
        due: &Due<Arc<FileState>>,
        boot: BootNumber,
        deadline: Instant,
    ) -> Result<u64> {
        let _alone = timeout_at(deadline, due.file.writing.write())
            .await
            .map_err(|_| Error::Deadline("writing again after a restart".into()))?;
        let writes = self.syncer.kept.lock().take(due.column);
        tracing::warn!(
            ino = %due.file.ino, column = %due.column, %boot, writes = writes.len(),
            "the OSD has restarted; writing again what it may have forgotten"
        );
        for Written { offset, data, span, mtime, file_epoch, permit, .. } in writes {
            let again = Repeat { mtime, only_epoch: Some(file_epoch) };
            let at = (due.column.index, offset);
            match span {
                Some(span) => {
                    self.change_span(&due.file, at, span, again, permit, deadline).await?;
                }
                None => {
                    self.write_column(&due.file, at, data, again, permit, deadline).await?;
                }
            }
        }
        Ok(self.syncer.kept.lock().mark())
    }
}

fn lost(due: &Due<Arc<FileState>>) -> Error {
    Error::Internal(format!(
        "data of column {} was not synced when its OSD restarted, and is not kept any more",
        due.column
    ))
}
