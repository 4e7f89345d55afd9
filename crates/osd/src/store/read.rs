//! Reading a column: every block checked, holes left out.

use std::ops::Range;

use parking_lot::RwLockReadGuard;
use xtfs_core::checksum::{BLOCK_SIZE, ZERO_BLOCK_SUM};
use xtfs_core::{ColumnId, Error, Result};

use super::column::{Column, Presence, State};
use super::fence::{Entry, admit};
use super::record::Record;
use super::segment::{BLOCK, Segment, fit};
use super::{ColumnState, Damage, Extent, Fence, ReadOut, Store};

/// Most bytes of one read.
const READ_MAX: u32 = 64 << 20;
/// Bytes that a verification checks under one hold of the column's lock.
const VERIFY_STEP: u32 = 1 << 20;
/// Bytes of a block.
const BLOCK_STEP: u32 = 4096;
/// From so many blocks without a sum on it pays to ask the disk whether they are a hole.
const HOLE_MIN: usize = 16;

impl Store {
    /// What lies at `offset` (both multiples of 4096), every block checked. A damaged block fails the read with
    /// [`Error::Corrupt`]; a read without it succeeds.
    pub fn read(
        &self,
        column: ColumnId,
        fence: Fence,
        offset: u64,
        length: u32,
    ) -> Result<ReadOut> {
        if !offset.is_multiple_of(BLOCK)
            || !u64::from(length).is_multiple_of(BLOCK)
            || length > READ_MAX
        {
            return Err(Error::Invalid(format!("read of {length} bytes at {offset}")));
        }
        let column = self.columns.at(column);
        let state = self.enter_shared(&column, fence)?;
        self.read_range(column.id, &state.record, offset, length)
    }

    /// Reads a column from the disk and checks every sum. Unknown columns have no damage.
    pub fn verify(&self, column: ColumnId) -> Result<Vec<Damage>> {
        let column = self.columns.at(column);
        drop(self.prepared(&column)?);
        let mut damages: Vec<Damage> = Vec::new();
        let mut offset = 0;
        loop {
            // In between others have their turn.
            let state = column.state.read();
            if offset >= state.record.length || !state.prepared {
                return Ok(damages);
            }
            self.verify_step(column.id, &state.record, offset, &mut damages)?;
            offset += u64::from(VERIFY_STEP);
        }
    }

    fn verify_step(
        &self,
        id: ColumnId,
        record: &Record,
        offset: u64,
        damages: &mut Vec<Damage>,
    ) -> Result<()> {
        match self.read_range(id, record, offset, VERIFY_STEP) {
            Ok(_) => return Ok(()),
            Err(Error::Corrupt(_)) => {}
            Err(err) => return Err(err),
        }
        for block in (offset..offset + u64::from(VERIFY_STEP)).step_by(BLOCK_SIZE) {
            match self.read_range(id, record, block, BLOCK_STEP) {
                Err(Error::Corrupt(cause)) => match damages.last_mut() {
                    Some(last) if last.offset + last.length == block => last.length += BLOCK,
                    _ => damages.push(Damage {
                        offset: block,
                        length: BLOCK,
                        cause,
                        missing: Segment::is_gone(&self.directory, id, self.place(block).0),
                    }),
                },
                Ok(_) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// The column for a reader, beside others.
    pub(super) fn enter_shared<'a>(
        &self,
        column: &'a Column,
        fence: Fence,
    ) -> Result<RwLockReadGuard<'a, State>> {
        loop {
            let state = column.state.read();
            if state.presence == Presence::Deleted {
                return Err(Error::NotFound);
            }
            if state.prepared && state.presence != Presence::Unknown {
                admit(&state.record, fence)?;
                if fence.epoch == state.record.file_epoch {
                    return Ok(state);
                }
            }
            drop(state);
            drop(self.enter(column, fence, Entry::Other)?);
        }
    }

    /// `record` is that of a prepared column whose lock is held.
    fn read_range(
        &self,
        id: ColumnId,
        record: &Record,
        offset: u64,
        length: u32,
    ) -> Result<ReadOut> {
        let end = (offset + u64::from(length)).min(record.length);
        let mut out = ReadOut { state: ColumnState::from(record), ..ReadOut::default() };
        if offset >= end {
            return Ok(out);
        }
        let wanted = fit(end - offset, READ_MAX as usize);
        out.length = u32::try_from(wanted).unwrap_or(READ_MAX);
        let runs = self.data_runs(id, record, &(offset..end))?;
        let total: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let mut buffer = self.buffers.take(fit(total, wanted));
        let mut left = buffer.bytes_mut();
        for run in &runs {
            let (here, rest) = left.split_at_mut(fit(run.end - run.start, left.len()));
            left = rest;
            let (number, within) = self.place(run.start);
            let stored = self.segment(id, number)?.read(within, here)?;
            out.sums.extend(stored.into_iter().map(|sum| sum ^ ZERO_BLOCK_SUM));
        }
        if total < end - offset {
            out.extents = runs.iter().map(|run| extent(offset, run)).collect();
        }
        out.data = buffer.freeze(fit(total, wanted));
        Ok(out)
    }

    /// The parts of `bytes` that are not holes, none over a segment's border.
    fn data_runs(
        &self,
        id: ColumnId,
        record: &Record,
        bytes: &Range<u64>,
    ) -> Result<Vec<Range<u64>>> {
        let size = self.options.segment_size;
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut at = bytes.start;
        while at < bytes.end {
            let (number, within) = self.place(at);
            let end = bytes.end.min(at - within + size);
            if record.segments.contains(&number) {
                let segment = self.segment(id, number)?;
                let sums = segment.sums(within, fit((end - at).div_ceil(BLOCK), usize::MAX))?;
                let mut block = 0;
                while block < sums.len() {
                    let zeros = sums[block..].iter().take_while(|&&sum| sum == 0).count();
                    let start = at + block as u64 * BLOCK;
                    let stop = end.min(start + zeros as u64 * BLOCK);
                    let kept = if zeros >= HOLE_MIN || zeros == sums.len() {
                        // A sum of 0 may be that of data: only the disk knows holes.
                        let next = segment.next_data(within + (start - at))?;
                        let next = next.map_or(stop, |next| next / BLOCK * BLOCK + (at - within));
                        next.clamp(start, stop)
                    } else {
                        start
                    };
                    let data = sums[block + zeros..].iter().take_while(|&&sum| sum != 0).count();
                    let data_end = end.min(start + (zeros + data) as u64 * BLOCK);
                    push_run(&mut runs, kept..data_end, size);
                    block += zeros + data;
                }
            }
            at = end;
        }
        Ok(runs)
    }

    /// Fills `block` with the block at `start`, checked, zeros behind the column's end. The column is prepared.
    pub(super) fn read_block(
        &self,
        id: ColumnId,
        record: &Record,
        start: u64,
        block: &mut [u8; BLOCK_SIZE],
    ) -> Result<()> {
        block.fill(0);
        let (number, within) = self.place(start);
        if start < record.length && record.segments.contains(&number) {
            let valid = fit(record.length - start, BLOCK_SIZE);
            self.segment(id, number)?.read(within, &mut block[..valid])?;
        }
        Ok(())
    }
}

/// Adds `run`, to the last one if they touch within a segment.
fn push_run(runs: &mut Vec<Range<u64>>, run: Range<u64>, segment_size: u64) {
    if run.is_empty() {
        return;
    }
    match runs.last_mut() {
        Some(last) if last.end == run.start && !run.start.is_multiple_of(segment_size) => {
            last.end = run.end;
        }
        _ => runs.push(run),
    }
}

/// Below `READ_MAX`, so they fit.
#[expect(clippy::cast_possible_truncation)]
fn extent(offset: u64, run: &Range<u64>) -> Extent {
    Extent { offset: (run.start - offset) as u32, length: (run.end - run.start) as u32 }
}
