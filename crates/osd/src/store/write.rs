//! Changing a column: writes and holes.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use xtfs_core::checksum::{BLOCK_SIZE, ZERO_BLOCK_SUM};
use xtfs_core::{ByteRange, ColumnId, Error, FILE_SIZE_MAX, Result, Timestamp};
use xtfs_kv::Durability;

use super::column::{Presence, State};
use super::fence::Entry;
use super::segment::{BLOCK, Segment, fit, parts, stored_sum};
use super::{ColumnState, Fence, Length, Store};

/// Bytes of a hole that are marked and made at a time.
const PUNCH_STEP: u64 = 1 << 30;

impl Store {
    /// Writes `data`, the concatenation of its parts. `sums` as `core::checksum::piece_sums` makes them; data that does
    /// not match them was damaged on its way and is asked for again. Survives the death of this process.
    pub fn write(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
        data: &[Bytes],
        sums: &[u32],
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        let length = data.iter().map(Bytes::len).sum::<usize>();
        let bytes = self.bounded(offset, length as u64)?;
        check_sums(offset, data, sums)?;
        let column = self.columns.at(column);
        let mut state = self.enter(&column, fence, Entry::Write)?;
        if length == 0 {
            return Ok(ColumnState::from(&state.record));
        }
        let stored = self.block_sums(column.id, &state, &bytes, data, sums)?;
        self.take_space(column.id, &state, &bytes)?;
        self.mark(column.id, &mut state, &bytes)?;
        state.dirty.change(&bytes);
        if let Err(err) = self.write_segments(column.id, &mut state, &bytes, data, &stored) {
            self.undo(column.id, &mut state);
            return Err(err);
        }
        state.record.length = state.record.length.max(bytes.end);
        self.changed(column.id, &mut state, mtime)
    }

    /// Deallocates a range; it reads as zeros.
    pub fn punch(
        &self,
        column: ColumnId,
        fence: Fence,
        range: ByteRange,
        length: Length,
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        let bytes = match length {
            Length::Keep => range.start()..range.end(),
            Length::Grow => self.bounded(range.start(), range.len())?,
        };
        let column = self.columns.at(column);
        let mut state = self.enter(&column, fence, Entry::Other)?;
        let before = state.record.length;
        let grows = length == Length::Grow && !bytes.is_empty() && bytes.end > before;
        if bytes.is_empty() || (bytes.start >= before && !grows && state.record.segments.is_empty())
        {
            return Ok(ColumnState::from(&state.record));
        }
        let punched = self.punch_range(column.id, &mut state, &bytes).and_then(|()| match length {
            Length::Grow => self.grow(column.id, &mut state, bytes.end),
            Length::Keep => Ok(()),
        });
        if let Err(err) = punched {
            state.record.length = before;
            self.undo(column.id, &mut state);
            return Err(err);
        }
        self.measure(column.id, &mut state)?;
        self.changed(column.id, &mut state, mtime)
    }

    /// A range that a column can have.
    pub(super) fn bounded(&self, offset: u64, length: u64) -> Result<Range<u64>> {
        let end = offset.checked_add(length).filter(|&end| {
            end <= FILE_SIZE_MAX && end / self.options.segment_size <= u64::from(u32::MAX)
        });
        Ok(offset..end.ok_or(Error::FileTooLarge)?)
    }

    /// Records what a change of the files has made.
    pub(super) fn changed(
        &self,
        id: ColumnId,
        state: &mut State,
        mtime: Timestamp,
    ) -> Result<ColumnState> {
        state.record.mtime = state.record.mtime.max(mtime);
        state.presence = Presence::Present;
        self.put_record(id, &state.record, Durability::Process)?;
        Ok(ColumnState::from(&state.record))
    }

    /// After a failed change: the length is as before, and the sums are those of what the disk has.
    pub(super) fn undo(&self, id: ColumnId, state: &mut State) {
        state.prepared = false;
        if let Err(err) = self.prepare(id, state) {
            tracing::warn!(column = %id, %err, "a failed write is cleaned up at the next access");
        }
    }

    /// The stored sums of all blocks that `bytes` touches. A block that is overwritten in part is checked first.
    fn block_sums(
        &self,
        id: ColumnId,
        state: &State,
        bytes: &Range<u64>,
        data: &[Bytes],
        sums: &[u32],
    ) -> Result<Vec<u32>> {
        let mut stored: Vec<u32> = sums.iter().map(|sum| sum ^ ZERO_BLOCK_SUM).collect();
        let last = stored.len() - 1;
        for index in if last == 0 { vec![0] } else { vec![0, last] } {
            let start = (bytes.start / BLOCK + index as u64) * BLOCK;
            let piece = start.max(bytes.start)..(start + BLOCK).min(bytes.end);
            if piece == (start..start + BLOCK) {
                continue;
            }
            let mut block = [0; BLOCK_SIZE];
            // Nothing of the old block is left if the piece covers all that the column has of it.
            if piece.start > start || piece.end < state.record.length {
                self.read_block(id, &state.record, start, &mut block)?;
            }
            let length = fit(piece.end - piece.start, BLOCK_SIZE);
            let mut at = fit(piece.start - start, BLOCK_SIZE);
            for part in parts(data, fit(piece.start - bytes.start, usize::MAX), length) {
                block[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            stored[index] = stored_sum(&block);
        }
        Ok(stored)
    }

    /// O5: refused before anything is changed, unless all of it has its place.
    fn take_space(&self, id: ColumnId, state: &State, bytes: &Range<u64>) -> Result<()> {
        if self.disk.take(bytes.end - bytes.start)? {
            return Ok(());
        }
        for number in self.numbers(bytes) {
            let known = state.record.segments.contains(&number);
            if !known || !self.segment(id, number)?.has_room(&self.part_in(bytes, number))? {
                return Err(self.disk.full());
            }
        }
        Ok(())
    }

    fn write_segments(
        &self,
        id: ColumnId,
        state: &mut State,
        bytes: &Range<u64>,
        data: &[Bytes],
        stored: &[u32],
    ) -> Result<()> {
        let end = state.record.length.max(bytes.end);
        for number in self.numbers(bytes) {
            let start = self.start_of(number);
            let part = self.part_in(bytes, number);
            let (segment, is_new) = self.segment_for_write(id, state, number)?;
            let before = segment.allocated()?;
            let first = (start + part.start) / BLOCK - bytes.start / BLOCK;
            let blocks = part.end.div_ceil(BLOCK) - part.start / BLOCK;
            let sums = &stored[fit(first, stored.len())..fit(first + blocks, stored.len())];
            // Sums first: a full disk then shows before the data is touched.
            segment.write_sums(part.start / BLOCK * BLOCK, sums)?;
            let skip = fit((start + part.start) - bytes.start, usize::MAX);
            segment.write(part.start, data, skip, fit(part.end - part.start, usize::MAX))?;
            if is_new {
                segment.set_length((end - start).min(self.options.segment_size))?;
            }
            self.count(state, before, segment.allocated()?);
        }
        self.fill_old_last(id, state, bytes.end)
    }

    /// When the column grows into another segment, the one it ended in becomes full, with a hole.
    pub(super) fn fill_old_last(&self, id: ColumnId, state: &mut State, end: u64) -> Result<()> {
        // The first segment of an empty column may be there for room that was taken ahead.
        let (number, _) = self.place(state.record.length.saturating_sub(1));
        let full = self.start_of(number) + self.options.segment_size;
        let grows = state.record.length < full && end > full;
        if grows && state.record.segments.contains(&number) {
            // So that the next sync includes its files.
            state.dirty.change(&(full - 1..full));
            self.segment(id, number)?.set_length(self.options.segment_size)?;
        }
        Ok(())
    }

    pub(super) fn segment_for_write(
        &self,
        id: ColumnId,
        state: &mut State,
        number: u32,
    ) -> Result<(Arc<Segment>, bool)> {
        let Err(place) = state.record.segments.binary_search(&number) else {
            return Ok((self.segment(id, number)?, false));
        };
        self.open_segments.remove(&(id, number));
        let segment = Arc::new(Segment::create(&self.directory, id, number)?);
        self.open_segments.insert((id, number), Arc::clone(&segment));
        state.record.segments.insert(place, number);
        state.record.entries_synced = false;
        Ok((segment, true))
    }

    fn count(&self, state: &mut State, before: u64, after: u64) {
        let record = &mut state.record;
        let allocated = match record.segments.len() {
            1 => after,
            _ => (record.allocated + after).saturating_sub(before),
        };
        self.disk.resized(record.allocated, allocated);
        record.allocated = allocated;
    }

    /// The segments that `bytes`, which is not empty, touches.
    pub(super) fn numbers(&self, bytes: &Range<u64>) -> RangeInclusive<u32> {
        self.place(bytes.start).0..=self.place(bytes.end - 1).0
    }

    fn punch_range(&self, id: ColumnId, state: &mut State, asked: &Range<u64>) -> Result<()> {
        let end = state.record.length;
        let bytes = asked.start.min(end)..asked.end.min(end);
        let whole_start = bytes.start.next_multiple_of(BLOCK);
        // The block with the column's end is whole if all that the column has of it goes.
        let reaches_end = bytes.end == end;
        let whole_end = if reaches_end { bytes.end } else { bytes.end / BLOCK * BLOCK };
        if whole_start > whole_end {
            self.zero_in_block(id, state, &bytes)?;
        } else {
            self.zero_in_block(id, state, &(bytes.start..whole_start))?;
            self.zero_in_block(id, state, &(whole_end..bytes.end))?;
        }
        for number in state.record.segments.clone() {
            self.punch_segment(id, state, number, &(whole_start..whole_end))?;
            // Room that was taken ahead, beyond the end.
            let beyond = asked.start.max(end).next_multiple_of(BLOCK)..asked.end / BLOCK * BLOCK;
            let beyond = self.part_in(&beyond, number);
            if !beyond.is_empty() {
                self.segment(id, number)?.punch(&beyond)?;
            }
        }
        Ok(())
    }

    fn punch_segment(
        &self,
        id: ColumnId,
        state: &mut State,
        number: u32,
        bytes: &Range<u64>,
    ) -> Result<()> {
        let start = self.start_of(number);
        let part = self.part_in(bytes, number);
        if part.is_empty() {
            return Ok(());
        }
        let segment = self.segment(id, number)?;
        let mut at = part.start;
        while at < part.end {
            // Holes need no marks.
            let Some(next) = segment.next_data(at)?.filter(|&next| next < part.end) else {
                break;
            };
            at = at.max(next / BLOCK * BLOCK);
            let step = at..part.end.min(at.saturating_add(PUNCH_STEP));
            let in_column = start + step.start..start + step.end;
            self.mark(id, state, &in_column)?;
            state.dirty.change(&in_column);
            segment.punch(&step)?;
            at = step.end;
        }
        // Room that was taken and not written to is a hole to whoever reads, but not to the disk.
        segment.punch(&part)
    }

    /// Zeros for part of a block.
    fn zero_in_block(&self, id: ColumnId, state: &mut State, bytes: &Range<u64>) -> Result<()> {
        let (number, within) = self.place(bytes.start);
        if bytes.is_empty() || !state.record.segments.contains(&number) {
            return Ok(());
        }
        let start = bytes.start / BLOCK * BLOCK;
        let mut block = [0; BLOCK_SIZE];
        self.read_block(id, &state.record, start, &mut block)?;
        let zeros =
            &mut block[fit(bytes.start - start, BLOCK_SIZE)..fit(bytes.end - start, BLOCK_SIZE)];
        if zeros.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        zeros.fill(0);
        let data = Bytes::from(vec![0; zeros.len()]);
        self.mark(id, state, bytes)?;
        state.dirty.change(bytes);
        let segment = self.segment(id, number)?;
        segment.write_sums(within / BLOCK * BLOCK, &[stored_sum(&block)])?;
        let length = data.len();
        segment.write(within, &[data], 0, length)
    }
}

/// Checks each piece of `data`, as cut at block borders, against its sum.
fn check_sums(offset: u64, data: &[Bytes], sums: &[u32]) -> Result<()> {
    let length = data.iter().map(Bytes::len).sum::<usize>() as u64;
    let blocks = if length == 0 { 0 } else { (offset + length).div_ceil(BLOCK) - offset / BLOCK };
    if blocks != sums.len() as u64 {
        return Err(Error::Invalid(format!("{} sums for {blocks} blocks", sums.len())));
    }
    let damaged = || {
        Error::Unavailable(format!(
            "data for offset {offset} was damaged on its way, send it again"
        ))
    };
    let mut sums = sums.iter();
    let mut check = |sum: u32| if sums.next() == Some(&sum) { Ok(()) } else { Err(damaged()) };
    // Bytes that the current piece still lacks, and what of it came before this part.
    let mut lacks = fit(BLOCK - offset % BLOCK, BLOCK_SIZE);
    let mut begun: Option<crc32fast::Hasher> = None;
    for part in data {
        let mut rest = part.as_ref();
        while rest.len() >= lacks {
            let (piece, after) = rest.split_at(lacks);
            check(match begun.take() {
                Some(mut hasher) => {
                    hasher.update(piece);
                    hasher.finalize()
                }
                None => crc32fast::hash(piece),
            })?;
            (rest, lacks) = (after, BLOCK_SIZE);
        }
        if !rest.is_empty() {
            begun.get_or_insert_default().update(rest);
            lacks -= rest.len();
        }
    }
    begun.map_or(Ok(()), |hasher| check(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xtfs_core::checksum::piece_sums;

    proptest! {
        #[test]
        fn sums_are_those_of_the_concatenation(
            offset in 0..10_000u64, cuts in proptest::collection::vec(0..9000usize, 0..5), flip in any::<u32>()
        ) {
            let parts: Vec<Bytes> =
                cuts.iter().enumerate().map(|(i, &len)| vec![u8::try_from(i).unwrap() + 1; len].into()).collect();
            let whole = parts.concat();
            let mut sums = piece_sums(offset, &whole);
            prop_assert_eq!(check_sums(offset, &parts, &sums), Ok(()));
            if let Some(last) = sums.last_mut() && flip != 0 {
                *last ^= flip;
                let err = check_sums(offset, &parts, &sums).unwrap_err();
                prop_assert!(err.is_retryable());
            }
        }
    }
}
