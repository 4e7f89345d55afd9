//! What was written to a file, as the MRC is told of it: rule R3 of `docs/design/data-protocol.md`.

use std::collections::BTreeMap;

use xtfs_core::{FileEpoch, Timestamp};
use xtfs_proto::v1;

use crate::io::ColumnWritten;

/// Of one handle, or of all handles of an inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    file_epoch: FileEpoch,
    end: u64,
    mtime: Timestamp,
    columns: BTreeMap<u16, (u64, u64)>,
    /// More may have been written than was acknowledged.
    doubtful: bool,
}

impl Report {
    /// A write up to `end` was acknowledged. What was written under an older epoch needs no report any more: the file's
    /// size has it, or it was cut (R6).
    pub(crate) fn add(&mut self, end: u64, mtime: Timestamp, columns: &[ColumnWritten]) {
        let Some(newest) = columns.iter().map(|written| written.file_epoch).max() else { return };
        if newest < self.file_epoch {
            return;
        }
        if newest > self.file_epoch {
            *self = Report { file_epoch: newest, ..Report::default() };
        }
        for written in columns {
            // A part of it may have been cut.
            self.doubtful |= written.file_epoch != newest;
            let column = self.columns.entry(written.column.0).or_default();
            // Answers may have overtaken each other.
            column.0 = column.0.max(written.length);
            column.1 = column.1.max(written.allocated);
        }
        self.end = self.end.max(end);
        self.mtime = self.mtime.max(mtime);
    }

    /// What another one says as well.
    pub(crate) fn merge(&mut self, other: Report) {
        self.doubtful |= other.doubtful;
        if other.file_epoch < self.file_epoch {
            return;
        }
        if other.file_epoch > self.file_epoch {
            *self = Report { doubtful: self.doubtful, ..other };
            return;
        }
        for (column, (length, allocated)) in other.columns {
            let known = self.columns.entry(column).or_default();
            *known = (known.0.max(length), known.1.max(allocated));
        }
        self.end = self.end.max(other.end);
        self.mtime = self.mtime.max(other.mtime);
    }

    /// How far was written under an epoch.
    pub(crate) fn end_under(&self, epoch: FileEpoch) -> u64 {
        if self.file_epoch == epoch { self.end } else { 0 }
    }

    /// A write failed: some columns may have it.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }

    pub(crate) fn is_some(&self) -> bool {
        self.doubtful || !self.columns.is_empty()
    }

    /// `None`: nothing was written.
    pub(crate) fn to_wire(&self) -> Option<v1::WriteReport> {
        if !self.is_some() {
            return None;
        }
        let columns = self.columns.iter().map(|(index, (length, allocated))| v1::ColumnReport {
            index: (*index).into(),
            length: *length,
            allocated: *allocated,
        });
        Some(v1::WriteReport {
            // No epoch is zero: such a report is not trusted, and the columns are asked.
            file_epoch: if self.doubtful { 0 } else { self.file_epoch.0 },
            end: self.end,
            mtime_ns: self.mtime.0,
            columns: columns.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::ColumnIndex;

    fn written(file_epoch: u64) -> ColumnWritten {
        let file_epoch = FileEpoch(file_epoch);
        ColumnWritten { column: ColumnIndex(0), length: 10, allocated: 4096, file_epoch }
    }

    fn told(report: &Report) -> (u64, u64, i64) {
        let wire = report.to_wire().unwrap();
        (wire.file_epoch, wire.end, wire.mtime_ns)
    }

    #[test]
    fn r3_the_farthest_end_and_the_newest_time_are_told() {
        let mut report = Report::default();
        assert_eq!(report.to_wire(), None);
        report.add(10, Timestamp(5), &[written(3)]);
        report.add(8, Timestamp(4), &[written(3)]);
        assert_eq!(told(&report), (3, 10, 5));
    }

    #[test]
    fn r3_only_what_was_written_under_the_newest_epoch_counts() {
        let mut report = Report::default();
        report.add(100, Timestamp(5), &[written(3)]);
        report.add(20, Timestamp(6), &[written(4)]);
        assert_eq!(told(&report), (4, 20, 6));
        // A late answer.
        report.add(100, Timestamp(7), &[written(3)]);
        assert_eq!(told(&report), (4, 20, 6));
    }

    #[test]
    fn r3_a_report_is_not_trusted_after_a_failure_or_a_cut_write() {
        let mut failed = Report::default();
        failed.doubt();
        assert_eq!(failed.to_wire().unwrap().file_epoch, 0);
        failed.add(10, Timestamp(5), &[written(3)]);
        let mut cut = Report::default();
        cut.add(10, Timestamp(5), &[written(3), written(4)]);
        assert_eq!(cut.to_wire().unwrap().file_epoch, 0);
    }
}
