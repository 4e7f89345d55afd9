//! What was written and not synced yet, rule O3 of `docs/design/data-protocol.md`: an OSD whose
//! boot number changes may have forgotten it, and gets it again. Pure.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use xtfs_core::{BootNumber, ColumnId, FileEpoch, TargetId, Timestamp};

/// A range of a column that was changed without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) change: SpanChange,
    pub(crate) length: u64,
    /// The column does not grow by it.
    pub(crate) keep_length: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanChange {
    Punch,
    Allocate,
}

/// A write that is answered.
#[derive(Debug)]
pub(crate) struct Written<P> {
    pub(crate) offset: u64,
    /// Empty if it is a span.
    pub(crate) data: Bytes,
    pub(crate) span: Option<Span>,
    pub(crate) mtime: Timestamp,
    pub(crate) file_epoch: FileEpoch,
    pub(crate) boot: BootNumber,
    /// Its share of the bound, given back when this is dropped.
    pub(crate) permit: P,
}

/// `F` is the file, `P` the share of the bound.
#[derive(Debug)]
pub(crate) struct Unsynced<F, P> {
    columns: HashMap<ColumnId, Column<F, P>>,
    sequence: u64,
}

#[derive(Debug)]
struct Column<F, P> {
    target: TargetId,
    file: F,
    since: Instant,
    writes: Vec<(u64, Written<P>)>,
    /// Boot number under which data was written that is not kept any more for lack of room.
    shed: Option<BootNumber>,
}

/// What is to be synced: all writes up to `mark`.
#[derive(Clone, Debug)]
pub(crate) struct Due<F> {
    pub(crate) target: TargetId,
    pub(crate) column: ColumnId,
    pub(crate) file: F,
    pub(crate) mark: u64,
}

/// What a sync has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything up to the mark is on disk.
    Synced,
    /// The store has restarted: `take` what is to be written again, in order, then sync again.
    Restarted,
    /// The store has restarted, and what was written is not kept any more.
    Lost,
}

impl<F, P> Default for Unsynced<F, P> {
    fn default() -> Self {
        Unsynced { columns: HashMap::new(), sequence: 0 }
    }
}

impl<F: Clone, P> Unsynced<F, P> {
    pub(crate) fn add(
        &mut self,
        (target, column): (TargetId, ColumnId),
        file: &F,
        written: Written<P>,
        now: Instant,
    ) {
        self.sequence += 1;
        let entry = self.columns.entry(column).or_insert_with(|| Column {
            target,
            file: file.clone(),
            since: now,
            writes: Vec::new(),
            shed: None,
        });
        entry.target = target;
        entry.file = file.clone();
        entry.writes.push((self.sequence, written));
    }

    /// All columns that `wanted` says, or those with something older than `age`.
    pub(crate) fn due(&self, wanted: impl Fn(&ColumnId, Instant) -> bool) -> Vec<Due<F>> {
        let due = self.columns.iter().filter(|(id, column)| wanted(id, column.since));
        let mut due: Vec<_> = due
            .map(|(id, column)| Due {
                target: column.target,
                column: *id,
                file: column.file.clone(),
                mark: self.sequence,
            })
            .collect();
        due.sort_by_key(|due| (due.target, due.column));
        due
    }

    /// Stands for all that was written so far.
    pub(crate) fn mark(&self) -> u64 {
        self.sequence
    }

    /// The store answered a sync of all up to `mark` with `boot`.
    pub(crate) fn synced(
        &mut self,
        id: ColumnId,
        mark: u64,
        boot: BootNumber,
        now: Instant,
    ) -> Outcome {
        let Some(column) = self.columns.get_mut(&id) else { return Outcome::Synced };
        let outcome = if column.shed.take().is_some_and(|shed| shed != boot) {
            Outcome::Lost
        } else if column.writes.iter().any(|(at, written)| *at <= mark && written.boot != boot) {
            return Outcome::Restarted;
        } else {
            Outcome::Synced
        };
        column.writes.retain(|(sequence, _)| *sequence > mark);
        column.since = now;
        self.drop_if_empty(id);
        outcome
    }

    /// Takes everything out, so that it is written again in order: a write that a store of an
    /// older boot number forgot may lie below a newer one. The caller adds it once more, or says
    /// that it is lost, and lets no other write of the column pass meanwhile.
    pub(crate) fn take(&mut self, id: ColumnId) -> Vec<Written<P>> {
        let Some(column) = self.columns.get_mut(&id) else { return Vec::new() };
        let writes = std::mem::take(&mut column.writes);
        self.drop_if_empty(id);
        writes.into_iter().map(|(_, written)| written).collect()
    }

    /// The file was cut by this client: what lies beyond is not written again, and the rest
    /// belongs to the new epoch.
    pub(crate) fn cut(&mut self, id: ColumnId, column_len: u64, file_epoch: Option<FileEpoch>) {
        let Some(column) = self.columns.get_mut(&id) else { return };
        column.writes.retain_mut(|(_, written)| {
            let keep = column_len.saturating_sub(written.offset);
            if let Some(span) = &mut written.span {
                span.length = span.length.min(keep);
            }
            if keep < written.data.len() as u64 {
                written.data.truncate(usize::try_from(keep).expect("less than a length in memory"));
            }
            if let Some(epoch) = file_epoch {
                written.file_epoch = epoch;
            }
            !written.data.is_empty() || written.span.is_some_and(|span| span.length > 0)
        });
        self.drop_if_empty(id);
    }

    /// Forgets data, but not that it was written, to make room.
    pub(crate) fn shed(&mut self, id: ColumnId) {
        let Some(column) = self.columns.get_mut(&id) else { return };
        if let Some((_, first)) = column.writes.first() {
            // Of several boots the first decides: it cannot match a later one.
            column.shed.get_or_insert(first.boot);
            column.writes.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn drop_if_empty(&mut self, id: ColumnId) {
        if self.columns.get(&id).is_some_and(|c| c.writes.is_empty() && c.shed.is_none()) {
            self.columns.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::{ColumnIndex, DataNumber, DataVersion, VolumeId};

    fn column() -> ColumnId {
        ColumnId {
            volume: VolumeId(1),
            data: DataNumber(2),
            index: ColumnIndex(0),
            version: DataVersion(0),
        }
    }

    fn add(unsynced: &mut Unsynced<(), ()>, offset: u64, data: &'static [u8], boot: u64) {
        let written = Written {
            offset,
            data: Bytes::from_static(data),
            span: None,
            mtime: Timestamp(1),
            file_epoch: FileEpoch(1),
            boot: BootNumber(boot),
            permit: (),
        };
        let target = TargetId::from_wire(&[7; 16]).unwrap();
        unsynced.add((target, column()), &(), written, Instant::now());
    }

    fn mark(unsynced: &Unsynced<(), ()>) -> u64 {
        unsynced.due(|_, _| true)[0].mark
    }

    fn synced(unsynced: &mut Unsynced<(), ()>, mark: u64, boot: u64) -> Outcome {
        unsynced.synced(column(), mark, BootNumber(boot), Instant::now())
    }

    fn take(unsynced: &mut Unsynced<(), ()>) -> Vec<(u64, Bytes)> {
        unsynced.take(column()).into_iter().map(|w| (w.offset, w.data)).collect()
    }

    #[test]
    fn a_sync_under_the_same_boot_number_drops_what_came_before_it() {
        let mut unsynced = Unsynced::default();
        add(&mut unsynced, 0, b"a", 1);
        let mark = mark(&unsynced);
        add(&mut unsynced, 1, b"b", 1);
        assert_eq!(synced(&mut unsynced, mark, 1), Outcome::Synced);
        assert!(!unsynced.is_empty());
        let later = unsynced.due(|_, _| true)[0].mark;
        assert_eq!(synced(&mut unsynced, later, 1), Outcome::Synced);
        assert!(unsynced.is_empty());
    }

    #[test]
    fn o3_a_new_boot_number_has_everything_written_again_in_order() {
        let mut unsynced = Unsynced::default();
        add(&mut unsynced, 0, b"aa", 1);
        add(&mut unsynced, 1, b"b", 2);
        let mark = mark(&unsynced);
        assert_eq!(synced(&mut unsynced, mark, 2), Outcome::Restarted);
        let again = [(0, Bytes::from_static(b"aa")), (1, Bytes::from_static(b"b"))];
        assert_eq!(take(&mut unsynced), again);
        assert!(unsynced.is_empty());
    }

    #[test]
    fn what_was_shed_is_lost_only_if_the_store_restarted() {
        for (boot, expected) in [(1, Outcome::Synced), (2, Outcome::Lost)] {
            let mut unsynced = Unsynced::default();
            add(&mut unsynced, 0, b"a", 1);
            unsynced.shed(column());
            let mark = mark(&unsynced);
            assert_eq!(synced(&mut unsynced, mark, boot), expected);
            assert!(unsynced.is_empty());
        }
    }

    #[test]
    fn what_was_cut_off_is_not_written_again() {
        let mut unsynced = Unsynced::default();
        add(&mut unsynced, 0, b"abcd", 1);
        add(&mut unsynced, 10, b"x", 1);
        unsynced.cut(column(), 2, Some(FileEpoch(2)));
        assert_eq!(take(&mut unsynced), [(0, Bytes::from_static(b"ab"))]);
    }
}
