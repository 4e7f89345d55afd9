//! Putting columns on disk: data, then sums, then the record, and marks that are older than the sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::syncfs;
use xtfs_core::{ColumnId, Error, Result};
use xtfs_kv::{Batch, Durability};

use super::column::{Column, Presence, State};
use super::dirty::{RANGE_SIZE, SyncPoint};
use super::segment::{Segment, directory_path};
use super::{Store, boot, record, sync_directory};

/// From so many columns on the file system is synced as a whole.
const WHOLE_DISK_MIN: usize = 8;

/// A column under way: what its state was before its files were synced.
#[derive(Debug)]
struct Job {
    column: Arc<Column>,
    point: SyncPoint,
    segments: Vec<Arc<Segment>>,
    /// Segments were made since the last sync.
    entries: bool,
    segment_count: usize,
}

impl Store {
    /// Puts all that was written to `columns` on disk. Unknown columns are fine.
    pub fn sync(&self, columns: &[ColumnId]) -> Result<()> {
        let mut ids = columns.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let columns: Vec<_> = ids.into_iter().map(|id| self.columns.at(id)).collect();
        self.sync_columns(&columns)
    }

    /// Puts everything on disk, and drops marks that rest; call it every few seconds. Answers how many columns
    /// that were.
    pub fn sync_all(&self) -> Result<usize> {
        let busy = self.columns.busy();
        let (mut dirty, mut marked) = (Vec::new(), Vec::new());
        for column in busy {
            let is_dirty = column.state.read().dirty.is_dirty();
            if is_dirty { dirty.push(column) } else { marked.push(column) }
        }
        marked.iter().try_for_each(|column| self.drop_marks(column))?;
        self.sync_columns(&dirty)?;
        Ok(dirty.len())
    }

    fn sync_columns(&self, columns: &[Arc<Column>]) -> Result<()> {
        let mut jobs = Vec::new();
        let mut kv_change = 0;
        for column in columns {
            let state = self.prepared(column)?;
            // Another sync may have written the record and still wait for the disk.
            kv_change = kv_change.max(state.kv_change);
            if state.dirty.is_dirty() && state.presence == Presence::Present {
                jobs.push(self.begin(column, &state)?);
            }
        }
        self.sync_files(&jobs).inspect_err(|err| self.sync_failed(err)).map_err(undecided)?;
        for job in &jobs {
            kv_change = kv_change.max(self.finish(job)?);
        }
        if kv_change > self.kv_synced.load(Ordering::Acquire) {
            // Counted after they were written, so that all of them are in this sync.
            let covered = self.kv_changes.load(Ordering::Acquire);
            self.kv.sync().inspect_err(|err| self.sync_failed(err)).map_err(undecided)?;
            self.kv_synced.fetch_max(covered, Ordering::AcqRel);
        }
        Ok(())
    }

    fn begin(&self, column: &Arc<Column>, state: &State) -> Result<Job> {
        let size = self.options.segment_size;
        let mut numbers: Vec<u32> = Vec::new();
        for range in state.dirty.changed_ranges() {
            let (first, _) = self.place(range * RANGE_SIZE);
            let (last, _) = self.place((range + 1) * RANGE_SIZE - 1);
            numbers.extend(state.record.segments.iter().filter(|&&n| (first..=last).contains(&n)));
        }
        // A cut changes the last segment though no range of it is left.
        let last = state.record.length.saturating_sub(1) / size;
        numbers.extend(state.record.segments.iter().filter(|&&number| u64::from(number) == last));
        numbers.sort_unstable();
        numbers.dedup();
        let segments = numbers.into_iter().map(|number| self.segment(column.id, number));
        Ok(Job {
            column: Arc::clone(column),
            point: state.dirty.begin_sync(state.record.length),
            segments: segments.collect::<Result<_>>()?,
            entries: !state.record.entries_synced,
            segment_count: state.record.segments.len(),
        })
    }

    fn sync_files(&self, jobs: &[Job]) -> Result<()> {
        if jobs.len() >= WHOLE_DISK_MIN {
            return syncfs(&self.disk.root)
                .map_err(|err| super::segment::failed(&self.directory, &err.into()));
        }
        for job in jobs {
            job.segments.iter().try_for_each(|segment| segment.sync())?;
            if job.entries {
                sync_directory(&directory_path(&self.directory, job.column.id))?;
            }
        }
        Ok(())
    }

    /// The files of `job` are on disk. Answers which change of kv says so.
    fn finish(&self, job: &Job) -> Result<u64> {
        let id = job.column.id;
        let mut state = job.column.state.write();
        if state.presence != Presence::Present {
            return Ok(0);
        }
        let synced_length = state.record.synced_length;
        let finished = state.dirty.finish_sync(job.point, synced_length);
        let mut batch = Batch::default();
        let entries = job.entries && job.segment_count == state.record.segments.len();
        let grown = finished.synced_length != state.record.synced_length;
        let durable = grown || entries || !finished.add.is_empty();
        if durable {
            state.record.synced_length = finished.synced_length;
            state.record.entries_synced |= entries;
            batch.put(&record::column_key(id), &record::encode(&state.record)?);
        }
        for &range in &finished.add {
            batch.put(&record::mark_key(id, range), &[]);
        }
        for &range in &finished.drop {
            batch.delete(&record::mark_key(id, range));
        }
        if !batch.is_empty() {
            self.kv.write(batch, Durability::Process)?;
        }
        if durable {
            state.kv_change = self.kv_changes.fetch_add(1, Ordering::AcqRel) + 1;
        }
        Ok(state.kv_change)
    }

    /// A column that is on disk, and rested, needs no marks. A mark that a power cut brings back does no harm.
    fn drop_marks(&self, column: &Column) -> Result<()> {
        let mut state = column.state.write();
        if state.dirty.is_dirty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for range in state.dirty.cool() {
            batch.delete(&record::mark_key(column.id, range));
        }
        self.kv.write(batch, Durability::Process)
    }

    /// The kernel may have dropped what it could not write: writers are told by a new number to send it again.
    fn sync_failed(&self, err: &Error) {
        let number = self.boot.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(
            %err, directory = %self.directory.display(), boot = number,
            "sync failed; writers send again what they have; check the disk"
        );
        if let Err(err) = boot::renew(&*self.kv, number) {
            tracing::error!(%err, "the new boot number is not stored");
        }
    }
}

/// The writer sends again and syncs again, within its deadline.
fn undecided(err: Error) -> Error {
    match err {
        Error::NoSpace(_) => err,
        err => Error::Unavailable(format!("sync failed: {err}")),
    }
}
