//! Putting the files of a column in order after a start or a failed write (O4).
//!
//! The record is what was acknowledged. What the files have beyond it goes. Marked ranges, and all beyond the synced
//! length, get their sums from what the disk has. Everything else must verify.

use std::ops::Range;

use xtfs_core::{ColumnId, Error, Result};
use xtfs_kv::Durability;

use super::Store;
use super::column::{Presence, State};
use super::dirty::RANGE_SIZE;
use super::segment::{self, BLOCK, Segment};

/// Bytes summed at a time.
const STEP: usize = 1 << 20;

impl Store {
    /// Work in proportion to what was not synced.
    pub(super) fn prepare(&self, id: ColumnId, state: &mut State) -> Result<()> {
        let before = state.record.clone();
        let unsynced = before.length > before.synced_length || state.dirty.has_marks();
        let mut found = self.find_segments(id, state)?;
        if unsynced {
            // An empty file tells nothing of the length: the next start would see another one.
            let ends = found.iter().filter(|(_, _, (data, _))| *data > 0);
            let reach = ends.map(|(number, _, (data, _))| self.start_of(*number) + data).max();
            let reach = reach.unwrap_or(0).max(before.synced_length);
            state.record.length = before.length.min(reach);
            found.retain(|(number, _, _)| self.start_of(*number) < state.record.length);
            for number in before.segments.iter().copied() {
                if self.start_of(number) >= state.record.length {
                    self.forget_segment(id, state, number)?;
                }
            }
        }
        for (number, segment, sizes) in &found {
            self.fit_segment(state, *number, segment, *sizes)?;
        }
        if unsynced {
            let mut buffer = self.buffers.take(STEP);
            let regions = unsure_regions(state);
            for (number, segment, _) in &found {
                for region in &regions {
                    let part = self.part_in(region, *number);
                    segment.sum_anew(&part, buffer.bytes_mut())?;
                    self.change_data(state, *number, segment, &part)?;
                }
            }
        }
        if state.record.segments != before.segments {
            self.measure(id, state)?;
        }
        if state.record != before && state.presence == Presence::Present {
            self.put_record(id, &state.record, Durability::Process)?;
        }
        state.prepared = true;
        Ok(())
    }

    /// What is there of `part` counts as changed. Not its holes: a column may be as long as a file can be.
    fn change_data(
        &self,
        state: &mut State,
        number: u32,
        segment: &Segment,
        part: &Range<u64>,
    ) -> Result<()> {
        let start = self.start_of(number);
        // Both ends, so that the length and the files of this segment are in the next sync.
        if !part.is_empty() {
            state.dirty.change(&(start + part.start..start + part.start + 1));
            state.dirty.change(&(start + part.end - 1..start + part.end));
        }
        let mut at = part.start;
        while let Some(data) = segment.next_data(at)?.filter(|&data| data < part.end) {
            let hole = segment.next_hole(data)?.clamp(data + 1, part.end);
            state.dirty.change(&(start + data..start + hole));
            at = hole;
        }
        Ok(())
    }

    /// The segments that are there. What a power cut took before it was synced goes from the record; what is
    /// missing otherwise stays in it, and is told to whoever reads it.
    #[expect(clippy::type_complexity, reason = "number, files, and their sizes")]
    fn find_segments(
        &self,
        id: ColumnId,
        state: &mut State,
    ) -> Result<Vec<(u32, Segment, (u64, u64))>> {
        let mut found = Vec::new();
        for number in state.record.segments.clone() {
            let start = self.start_of(number);
            self.open_segments.remove(&(id, number));
            if start >= state.record.length {
                self.forget_segment(id, state, number)?;
                continue;
            }
            let was_synced = start < state.record.synced_length && state.record.entries_synced;
            match Segment::open(&self.directory, id, number) {
                Ok(Some(segment)) => {
                    let sizes = segment.sizes()?;
                    found.push((number, segment, sizes));
                }
                Ok(None) | Err(Error::Corrupt(_)) if !was_synced => {
                    self.forget_segment(id, state, number)?;
                }
                Ok(None) | Err(Error::Corrupt(_)) => {
                    tracing::error!(column = %id, number, "a file of this segment is missing");
                }
                Err(err) => return Err(err),
            }
        }
        Ok(found)
    }

    fn forget_segment(&self, id: ColumnId, state: &mut State, number: u32) -> Result<()> {
        segment::remove(&self.directory, id, number)?;
        state.record.segments.retain(|&known| known != number);
        Ok(())
    }

    /// Brings both files to the length that the record gives them, without passing lost data for a hole.
    fn fit_segment(
        &self,
        state: &State,
        number: u32,
        segment: &Segment,
        sizes: (u64, u64),
    ) -> Result<()> {
        let (data, summed) = sizes;
        let start = self.start_of(number);
        let expected = self.expected_length(&state.record, number);
        // Up to here the file was complete at the last sync; one that was made since may be short anywhere, and what
        // it should have had there is marked or a hole.
        let synced = match state.record.entries_synced {
            true => state.record.synced_length.saturating_sub(start).min(expected),
            false => 0,
        };
        if data > expected || (data < expected && data >= synced) {
            segment.set_data_length(expected)?;
        }
        let blocks = expected.next_multiple_of(BLOCK);
        let synced_blocks = synced.next_multiple_of(BLOCK);
        if summed < synced_blocks {
            segment.lose_sums(&(summed..synced_blocks))?;
        }
        if summed != blocks {
            segment.set_sums_length(expected)?;
        }
        Ok(())
    }

    /// Bytes of the column that lie in a segment.
    pub(super) fn expected_length(&self, record: &super::record::Record, number: u32) -> u64 {
        record.length.saturating_sub(self.start_of(number)).min(self.options.segment_size)
    }

    pub(super) fn start_of(&self, number: u32) -> u64 {
        u64::from(number) * self.options.segment_size
    }

    /// The part of `bytes` in a segment, in offsets of the segment.
    pub(super) fn part_in(&self, bytes: &Range<u64>, number: u32) -> Range<u64> {
        let start = self.start_of(number);
        let size = self.options.segment_size;
        bytes.start.saturating_sub(start).min(size)..bytes.end.saturating_sub(start).min(size)
    }
}

/// Ranges that may be torn: marked ones, and what lies beyond the synced length. They begin at block borders.
fn unsure_regions(state: &State) -> Vec<Range<u64>> {
    let length = state.record.length;
    // The block with the last synced byte is changed under a mark only.
    let beyond = state.record.synced_length.next_multiple_of(BLOCK)..length;
    let known = state.dirty.known_ranges();
    let mut regions: Vec<_> =
        known.map(|range| range * RANGE_SIZE..((range + 1) * RANGE_SIZE).min(length)).collect();
    regions.push(beyond);
    regions.retain(|region| !region.is_empty());
    regions
}
