//! Which ranges of a column may differ from what is on disk (O4). Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use xtfs_core::checksum::BLOCK_SIZE;

/// Bytes of a range that one mark covers.
pub(super) const RANGE_SIZE: u64 = 1 << 20;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// Changes of a column are numbered; a sync covers all up to the number at its start.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Number of the newest change.
    changes: u64,
    /// All changes up to this one are on disk.
    synced: u64,
    /// How often the column was cut.
    cuts: u64,
    ranges: BTreeMap<u64, DirtyRange>,
}

#[derive(Clone, Copy, Debug)]
struct DirtyRange {
    last_change: u64,
    /// The mark is in kv, durable.
    marked: bool,
}

/// The start of a sync.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncPoint {
    changes: u64,
    cuts: u64,
    length: u64,
}

/// What a finished sync changes in kv.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) synced_length: u64,
    /// Changed during the sync, below the new synced length.
    pub(super) add: Vec<u64>,
    pub(super) drop: Vec<u64>,
}

impl Dirty {
    /// As found in kv at start: those marks, and all beyond the synced length, count as changed.
    pub(super) fn loaded(marks: &[u64]) -> Self {
        let marked = DirtyRange { last_change: 1, marked: true };
        let ranges = marks.iter().map(|&range| (range, marked)).collect();
        Dirty { changes: u64::from(!marks.is_empty()), ranges, ..Dirty::default() }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.changes > self.synced
    }

    pub(super) fn has_marks(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Ranges of `bytes` that need a durable mark before they change: those with synced blocks.
    pub(super) fn unmarked(&self, bytes: &Range<u64>, synced_length: u64) -> Vec<u64> {
        // A block with one synced byte is a synced block: its sum stands for that byte.
        let end = bytes.end.min(synced_length.next_multiple_of(BLOCK));
        let marked = |range: &u64| self.ranges.get(range).is_some_and(|known| known.marked);
        ranges_of(&(bytes.start..end)).filter(|range| !marked(range)).collect()
    }

    /// The marks are durable.
    pub(super) fn mark(&mut self, ranges: &[u64]) {
        for &range in ranges {
            self.ranges
                .entry(range)
                .or_insert(DirtyRange { last_change: 0, marked: true })
                .marked = true;
        }
    }

    pub(super) fn change(&mut self, bytes: &Range<u64>) {
        self.changes += 1;
        let last_change = self.changes;
        for range in ranges_of(bytes) {
            let unmarked = DirtyRange { last_change, marked: false };
            self.ranges.entry(range).or_insert(unmarked).last_change = last_change;
        }
    }

    /// Marks that lie beyond `length` as a whole.
    pub(super) fn marks_beyond(&self, length: u64) -> Vec<u64> {
        let beyond = self.ranges.range(length.div_ceil(RANGE_SIZE)..);
        beyond.filter(|(_, range)| range.marked).map(|(number, _)| *number).collect()
    }

    /// Forgets what lies beyond `length`.
    pub(super) fn cut(&mut self, length: u64) {
        self.cuts += 1;
        self.changes += 1;
        self.ranges.split_off(&length.div_ceil(RANGE_SIZE));
    }

    /// Where files of changed ranges begin: the first byte of each changed range.
    pub(super) fn changed_ranges(&self) -> impl Iterator<Item = u64> {
        let changed = self.ranges.iter().filter(|(_, range)| range.last_change > self.synced);
        changed.map(|(number, _)| *number)
    }

    /// Every range that is known, and so made anew after a crash.
    pub(super) fn known_ranges(&self) -> impl Iterator<Item = u64> {
        self.ranges.keys().copied()
    }

    pub(super) fn begin_sync(&self, length: u64) -> SyncPoint {
        SyncPoint { changes: self.changes, cuts: self.cuts, length }
    }

    /// The files that were changed before `point` are on disk. A mark is dropped only if its range
    /// did not change since the sync before: one that changes again and again costs no kv sync.
    pub(super) fn finish_sync(&mut self, point: SyncPoint, synced_length: u64) -> Finished {
        let mut finished = Finished { synced_length, ..Finished::default() };
        if point.cuts == self.cuts {
            finished.synced_length = synced_length.max(point.length);
        }
        let before = self.synced;
        self.synced = self.synced.max(point.changes);
        let synced_blocks_end = finished.synced_length.next_multiple_of(BLOCK);
        self.ranges.retain(|&number, range| {
            if range.last_change > point.changes {
                if !range.marked && number * RANGE_SIZE < synced_blocks_end {
                    range.marked = true;
                    finished.add.push(number);
                }
                return true;
            }
            let hot = range.marked && range.last_change > before;
            if range.marked && !hot {
                finished.drop.push(number);
            }
            hot
        });
        finished
    }

    /// Drops all marks of a column that is on disk.
    pub(super) fn cool(&mut self) -> Vec<u64> {
        debug_assert!(!self.is_dirty());
        std::mem::take(&mut self.ranges).into_keys().collect()
    }
}

/// Numbers of the ranges that `bytes` touches.
pub(super) fn ranges_of(bytes: &Range<u64>) -> Range<u64> {
    if bytes.is_empty() {
        return 0..0;
    }
    bytes.start / RANGE_SIZE..bytes.end.div_ceil(RANGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: u64 = RANGE_SIZE;

    #[test]
    fn only_synced_blocks_need_a_mark() {
        #[track_caller]
        fn check(bytes: Range<u64>, synced_length: u64, expected: &[u64]) {
            assert_eq!(Dirty::default().unmarked(&bytes, synced_length), expected);
        }
        check(0..R, 0, &[]);
        check(0..3 * R, R + 1, &[0, 1]);
        // An append into a block that holds a synced byte, and one behind it.
        check(10..20, 10, &[0]);
        check(4096..5000, 4096, &[]);
        check(R..2 * R, R, &[]);
    }

    #[test]
    fn a_mark_is_dropped_when_a_whole_interval_left_it_alone() {
        let mut dirty = Dirty::default();
        dirty.mark(&[0]);
        dirty.change(&(0..1));
        let point = dirty.begin_sync(R);
        assert_eq!(dirty.finish_sync(point, R).drop, [0; 0]);
        assert!(!dirty.is_dirty());
        assert_eq!(dirty.unmarked(&(0..1), R), [0; 0]);
        dirty.change(&(2 * R..2 * R + 1));
        let point = dirty.begin_sync(3 * R);
        assert_eq!(dirty.finish_sync(point, R).drop, [0]);
    }

    #[test]
    fn a_change_during_a_sync_keeps_its_mark() {
        let mut dirty = Dirty::default();
        dirty.mark(&[0]);
        dirty.change(&(0..1));
        let first = dirty.begin_sync(R);
        dirty.finish_sync(first, R);
        let second = dirty.begin_sync(R);
        dirty.change(&(0..1));
        assert_eq!(dirty.finish_sync(second, R).drop, [0; 0]);
        assert!(dirty.is_dirty());
    }

    #[test]
    fn what_changed_during_a_sync_is_marked_when_the_synced_length_passes_it() {
        let mut dirty = Dirty::default();
        dirty.change(&(0..2 * R));
        let point = dirty.begin_sync(2 * R);
        dirty.change(&(R..R + 1));
        dirty.change(&(2 * R..3 * R));
        let finished = dirty.finish_sync(point, 0);
        assert_eq!(finished, Finished { synced_length: 2 * R, add: vec![1], drop: vec![] });
        assert_eq!(dirty.unmarked(&(0..3 * R), 2 * R), [0]);
    }

    #[test]
    fn a_sync_does_not_vouch_for_what_was_cut_during_it() {
        let mut dirty = Dirty::default();
        dirty.change(&(0..2 * R));
        let point = dirty.begin_sync(2 * R);
        dirty.cut(0);
        assert_eq!(dirty.finish_sync(point, 0).synced_length, 0);
    }
}
