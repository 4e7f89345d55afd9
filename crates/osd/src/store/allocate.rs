//! Room that is taken ahead, lengths without data, and where data is.

use std::ops::Range;

use xtfs_core::{ByteRange, ColumnId, Result, Timestamp};

use super::column::State;
use super::fence::Entry;
use super::segment::BLOCK;
use super::{ColumnState, Fence, Length, Store};

impl Store {
    /// Takes room on the disk for a range; what it holds stays. O5: refused before anything is changed.
    pub fn allocate(
        &self,
        column: ColumnId,
        fence: Fence,
        range: ByteRange,
        length: Length,
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        let bytes = self.bounded(range.start(), range.len())?;
        let column = self.columns.at(column);
        let mut state = self.enter(&column, fence, Entry::Write)?;
        if bytes.is_empty() {
            return Ok(ColumnState::from(&state.record));
        }
        let needed = self.missing_in(column.id, &state, &bytes)?;
        if needed > self.disk.space()?.free || !self.disk.take(needed)? {
            return Err(self.disk.full());
        }
        let before = state.record.length;
        let allocated = match length {
            Length::Grow => self.grow(column.id, &mut state, bytes.end),
            Length::Keep => Ok(()),
        };
        let allocated = allocated.and_then(|()| self.take_ahead(column.id, &mut state, &bytes));
        if let Err(err) = allocated {
            state.record.length = before;
            self.undo(column.id, &mut state);
            return Err(err);
        }
        self.measure(column.id, &mut state)?;
        self.changed(column.id, &mut state, mtime)
    }

    /// The first extent that is not a hole and reaches beyond `offset`, out to whole blocks at its end. `None`: only
    /// holes follow.
    pub fn next_data(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
    ) -> Result<(ColumnState, Option<Range<u64>>)> {
        let column = self.columns.at(column);
        let state = self.enter_shared(&column, fence)?;
        let mut found: Option<Range<u64>> = None;
        for &number in &state.record.segments {
            let start = self.start_of(number);
            let length = self.expected_length(&state.record, number);
            let from = found.as_ref().map_or(offset, |known| known.end).saturating_sub(start);
            // An extent goes on in the next segment only if it reaches this one's end.
            if found.as_ref().is_some_and(|known| known.end != start) {
                break;
            }
            if from >= length {
                continue;
            }
            let segment = self.segment(column.id, number)?;
            let Some(data) = segment.next_data(from)?.filter(|&data| data < length) else {
                continue;
            };
            let end = segment.next_hole(data)?.min(length).next_multiple_of(BLOCK);
            match &mut found {
                None => found = Some((start + data / BLOCK * BLOCK).max(offset)..start + end),
                Some(known) if data == 0 => known.end = start + end,
                Some(_) => break,
            }
        }
        Ok((ColumnState::from(&state.record), found))
    }

    /// The column ends at `end`, if it ended before; what it gains is a hole.
    pub(super) fn grow(&self, id: ColumnId, state: &mut State, end: u64) -> Result<()> {
        if end <= state.record.length {
            return Ok(());
        }
        self.fill_old_last(id, state, end)?;
        state.dirty.change(&(end - 1..end));
        state.record.length = end;
        self.fit_last(id, state)
    }

    /// Bytes of `bytes` that have no place on the disk yet. Room that was taken ahead looks like a hole: what a segment
    /// occupies beside its data counts as taken for these bytes.
    fn missing_in(&self, id: ColumnId, state: &State, bytes: &Range<u64>) -> Result<u64> {
        let mut taken = 0;
        for &number in &state.record.segments {
            let part = self.part_in(bytes, number);
            if part.is_empty() {
                continue;
            }
            let segment = self.segment(id, number)?;
            let ahead = segment.allocated()?.saturating_sub(segment.data_in(&(0..u64::MAX))?);
            taken += (segment.data_in(&part)? + ahead).min(part.end - part.start);
        }
        Ok((bytes.end - bytes.start).saturating_sub(taken))
    }

    /// Beyond the column's end only in the segment with the end: others do not exist yet.
    fn take_ahead(&self, id: ColumnId, state: &mut State, bytes: &Range<u64>) -> Result<()> {
        let length = state.record.length;
        let (last, _) = self.place(length.saturating_sub(1));
        let reach = bytes.start..bytes.end.min(self.start_of(last) + self.options.segment_size);
        if reach.is_empty() {
            return Ok(());
        }
        for number in self.numbers(&reach) {
            let part = self.part_in(&reach, number);
            let (segment, is_new) = self.segment_for_write(id, state, number)?;
            if is_new {
                segment.set_length(self.expected_length(&state.record, number))?;
            }
            segment.allocate(&part)?;
            let first = self.start_of(number) + part.start;
            if first < length {
                // So that the next sync includes its files.
                state.dirty.change(&(first..first + 1));
            }
        }
        Ok(())
    }
}
