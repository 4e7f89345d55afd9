//! Entering a column: loading it, and the rules of file epoch and floor (R7).

use std::ops::Range;

use parking_lot::RwLockWriteGuard;
use xtfs_core::checksum::BLOCK_SIZE;
use xtfs_core::{ColumnId, Error, Result};
use xtfs_kv::{Batch, Durability};

use super::column::{Column, Presence, State};
use super::dirty::Dirty;
use super::record::{self, Record};
use super::segment::{self, BLOCK};
use super::{ColumnState, Fence, Store};

/// How a column is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Of a column without a record, the epoch becomes known with the first write only, not durably. That is safe
    /// without a floor: then all columns have confirmed the epoch, so this one has a record, or there was none to
    /// confirm, and no right with a lower epoch exists.
    Write,
    /// The epoch is durable before the request is served.
    Other,
}

impl Store {
    /// R7, from the MRC: durable on return.
    pub fn seal(&self, column: ColumnId, fence: Fence) -> Result<ColumnState> {
        let column = self.columns.at(column);
        let state = self.enter(&column, fence, Entry::Other)?;
        Ok(ColumnState::from(&state.record))
    }

    /// The column for a request that is admitted by `fence`.
    pub(super) fn enter<'a>(
        &self,
        column: &'a Column,
        fence: Fence,
        entry: Entry,
    ) -> Result<RwLockWriteGuard<'a, State>> {
        let mut state = self.prepared(column)?;
        if state.presence == Presence::Deleted {
            return Err(Error::NotFound);
        }
        admit(&state.record, fence)?;
        if fence.epoch > state.record.file_epoch {
            self.raise(column.id, &mut state, fence, entry)?;
        }
        Ok(state)
    }

    /// The column with its record loaded and its files in order.
    pub(super) fn prepared<'a>(&self, column: &'a Column) -> Result<RwLockWriteGuard<'a, State>> {
        let mut state = column.state.write();
        if state.presence == Presence::Unknown {
            self.load(column.id, &mut state)?;
        }
        if !state.prepared {
            self.prepare(column.id, &mut state)?;
        }
        Ok(state)
    }

    fn load(&self, id: ColumnId, state: &mut State) -> Result<()> {
        let key = record::column_key(id);
        if let Some(value) = self.kv.get(&key)? {
            let marks = self.kv.scan(&record::marks_of(id), usize::MAX)?;
            let marks: Vec<_> =
                marks.iter().filter_map(|(key, _)| record::marked_range(key)).collect();
            state.record = record::decode(&key, &value)?;
            state.dirty = Dirty::loaded(&marks);
            state.presence = Presence::Present;
            return Ok(());
        }
        let deleted = self.kv.get(&record::tombstone_key(id))?.is_some()
            || self.never_used.read().iter().any(|range| range.covers(id));
        state.presence = if deleted { Presence::Deleted } else { Presence::Absent };
        Ok(())
    }

    /// Takes a higher epoch, and cuts.
    fn raise(&self, id: ColumnId, state: &mut State, fence: Fence, entry: Entry) -> Result<()> {
        let Fence { epoch, column_floor } = fence;
        if state.presence == Presence::Absent && entry == Entry::Write && column_floor.is_none() {
            state.record.file_epoch = epoch;
            return Ok(());
        }
        let length = column_floor.map_or(state.record.length, |f| f.min(state.record.length));
        let record = Record { file_epoch: epoch, floor: column_floor, ..state.record.clone() };
        if length < state.record.length {
            return self.cut(id, state, record, length);
        }
        self.put_record(id, &record, Durability::Synced)?;
        state.record = record;
        state.presence = Presence::Present;
        Ok(())
    }

    /// Cuts a column to `length`. The record goes first: what a crash leaves behind it is cut at the next start.
    fn cut(&self, id: ColumnId, state: &mut State, mut record: Record, length: u64) -> Result<()> {
        let tail = self.tail_after_cut(id, state, length)?;
        record.length = length;
        record.synced_length = record.synced_length.min(length);
        record.segments.retain(|&number| u64::from(number) * self.options.segment_size < length);
        let tail_block = length / BLOCK * BLOCK..length;
        let marks = match tail {
            Some(_) => state.dirty.unmarked(&tail_block, record.synced_length),
            None => Vec::new(),
        };
        let mut batch = Batch::default();
        batch.put(&record::column_key(id), &record::encode(&record)?);
        marks.iter().for_each(|&range| batch.put(&record::mark_key(id, range), &[]));
        for range in state.dirty.marks_beyond(length) {
            batch.delete(&record::mark_key(id, range));
        }
        self.kv.write(batch, Durability::Synced)?;

        let before = state.record.segments.clone();
        state.record = record;
        state.presence = Presence::Present;
        state.dirty.mark(&marks);
        state.dirty.cut(length);
        if tail.is_some() {
            state.dirty.change(&tail_block);
        }
        state.prepared = false;
        for number in before.into_iter().filter(|number| !state.record.segments.contains(number)) {
            self.open_segments.remove(&(id, number));
            segment::remove(&self.directory, id, number)?;
        }
        if let Some((number, sum)) = tail {
            let segment = self.segment(id, number)?;
            segment.write_sums(tail_block.start % self.options.segment_size, &[sum])?;
        }
        self.fit_last(id, state)?;
        state.prepared = true;
        self.measure(id, state)?;
        self.put_record(id, &state.record, Durability::Process)
    }

    /// The sum of the block that a cut to `length` leaves in part, and its segment.
    fn tail_after_cut(
        &self,
        id: ColumnId,
        state: &State,
        length: u64,
    ) -> Result<Option<(u32, u32)>> {
        let start = length / BLOCK * BLOCK;
        if start == length {
            return Ok(None);
        }
        let (number, _) = self.place(start);
        if !state.record.segments.contains(&number) {
            return Ok(None);
        }
        let mut block = [0; BLOCK_SIZE];
        match self.read_block(id, &state.record, start, &mut block) {
            Ok(()) => {
                let kept = segment::fit(length - start, BLOCK_SIZE);
                Ok(Some((number, segment::stored_sum(&block[..kept]))))
            }
            // Whoever reads it is told; the cut goes on.
            Err(Error::Corrupt(cause)) => {
                tracing::error!(column = %id, cause, "cut through a damaged block");
                Ok(Some((number, segment::LOST_SUM)))
            }
            Err(err) => Err(err),
        }
    }

    /// The segment with the end of the column ends where the column does. It is made if it is a hole: a start takes
    /// an unsynced length from the files.
    pub(super) fn fit_last(&self, id: ColumnId, state: &mut State) -> Result<()> {
        let Some(last) = state.record.length.checked_sub(1) else { return Ok(()) };
        let (number, within) = self.place(last);
        self.segment_for_write(id, state, number)?.0.set_length(within + 1)
    }

    /// Bytes of the column on disk, counted anew.
    pub(super) fn measure(&self, id: ColumnId, state: &mut State) -> Result<()> {
        let mut allocated = 0;
        for &number in &state.record.segments {
            match self.segment(id, number) {
                Ok(segment) => allocated += segment.allocated()?,
                Err(Error::Corrupt(_)) => {}
                Err(err) => return Err(err),
            }
        }
        self.disk.resized(state.record.allocated, allocated);
        state.record.allocated = allocated;
        Ok(())
    }

    /// The segment of a byte of the column, and the byte's offset there.
    pub(super) fn place(&self, offset: u64) -> (u32, u64) {
        // Columns end below 2^63: with segments of a page there are fewer than 2^51, of 1 TiB 2^23. `open`
        // could bound it; a test's tiny segments hold tiny columns.
        #[expect(clippy::cast_possible_truncation)]
        let number = (offset / self.options.segment_size) as u32;
        (number, offset % self.options.segment_size)
    }

    /// Makes marks for what is about to change, durable.
    pub(super) fn mark(&self, id: ColumnId, state: &mut State, bytes: &Range<u64>) -> Result<()> {
        let marks = state.dirty.unmarked(bytes, state.record.synced_length);
        if !marks.is_empty() {
            let mut batch = Batch::default();
            marks.iter().for_each(|&range| batch.put(&record::mark_key(id, range), &[]));
            self.kv.write(batch, Durability::Synced)?;
            state.dirty.mark(&marks);
        }
        Ok(())
    }
}

/// Whether a request with `fence` may look at the column, perhaps after raising its epoch.
pub(super) fn admit(record: &Record, fence: Fence) -> Result<()> {
    if fence.epoch < record.file_epoch {
        return Err(Error::StaleFileEpoch { current: record.file_epoch });
    }
    Ok(())
}
