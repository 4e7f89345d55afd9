//! What `xtfs fsck` compares: the columns that inodes speak of with those that targets hold. Pure.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use xtfs_core::{ColumnId, DataNumber, Ino, StripeLayout, TargetId};

/// A file with data, as the MRC has it.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    pub ino: Ino,
    pub size: u64,
    pub layout: StripeLayout,
    /// One for each column, in order.
    pub columns: Vec<(ColumnId, TargetId)>,
    /// Somebody writes, or a settlement is under way: a difference means nothing yet.
    pub pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The file of a column that its target knows of is gone.
    Missing,
    /// A target has a column that no inode speaks of.
    Extra,
    /// A column reaches beyond the end of its file.
    Size,
    /// Data and checksum disagree.
    Checksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub kind: Kind,
    /// Of an extra column: none.
    pub ino: Option<Ino>,
    pub column: ColumnId,
    pub target: TargetId,
}

/// Columns that reach beyond their file. `held` has what targets hold; a column may well be absent: a file with
/// holes has never written some, and a power cut takes what was not synced.
pub(crate) fn compare_files(files: &[FileEntry], held: &BTreeMap<ColumnId, u64>) -> Vec<Finding> {
    files.iter().filter(|file| !file.pending).flat_map(|file| compare_file(file, held)).collect()
}

fn compare_file(file: &FileEntry, held: &BTreeMap<ColumnId, u64>) -> Vec<Finding> {
    let too_long = file.columns.iter().filter(|(column, _)| {
        let length = held.get(column).copied().unwrap_or(0);
        length > file.layout.column_len(file.size, column.index)
    });
    let finding =
        |&(column, target)| Finding { kind: Kind::Size, ino: Some(file.ino), column, target };
    too_long.map(finding).collect()
}

/// Columns on `target` whose data number no inode has and no deletion waits for.
pub(crate) fn extra_columns(
    target: TargetId,
    held: &[ColumnId],
    known: &HashSet<DataNumber>,
    deleting: &HashSet<ColumnId>,
) -> Vec<Finding> {
    let unknown =
        held.iter().filter(|column| !known.contains(&column.data) && !deleting.contains(column));
    unknown.map(|&column| Finding { kind: Kind::Extra, ino: None, column, target }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::{ColumnIndex, DataVersion, VolumeId};

    const K: u64 = 1024;

    fn column(data: u64, index: u16) -> ColumnId {
        ColumnId {
            volume: VolumeId(1),
            data: DataNumber(data),
            index: ColumnIndex(index),
            version: DataVersion(0),
        }
    }

    fn file(target: TargetId) -> FileEntry {
        FileEntry {
            ino: Ino(5),
            size: 10 * K,
            layout: StripeLayout::new(4 * K, 2).unwrap(),
            columns: vec![(column(9, 0), target), (column(9, 1), target)],
            pending: false,
        }
    }

    #[test]
    fn a_column_may_not_reach_beyond_its_file() {
        let target = TargetId::generate();
        let check = |file: FileEntry, lengths: [Option<u64>; 2], expected: &[u16]| {
            let held = (0..2u16).zip(lengths).filter_map(|(n, len)| Some((column(9, n), len?)));
            let found = compare_files(&[file], &held.collect());
            let found: Vec<_> = found.iter().map(|f| f.column.index.0).collect();
            assert_eq!(found, expected);
        };
        // 10 KiB in stripes of 4: column 0 has 6 KiB, column 1 has 4.
        check(file(target), [Some(6 * K), Some(4 * K)], &[]);
        check(file(target), [Some(6 * K + 1), Some(4 * K)], &[0]);
        check(file(target), [Some(6 * K), None], &[]);
        check(FileEntry { pending: true, ..file(target) }, [None, Some(40 * K)], &[]);
    }

    #[test]
    fn a_column_is_extra_unless_known_or_being_deleted() {
        let target = TargetId::generate();
        let known = HashSet::from([DataNumber(9)]);
        let deleting = HashSet::from([column(10, 0)]);
        let all = [column(9, 0), column(10, 0), column(11, 1)];
        let found = extra_columns(target, &all, &known, &deleting);
        assert_eq!(found.iter().map(|f| f.column).collect::<Vec<_>>(), [column(11, 1)]);
    }
}
