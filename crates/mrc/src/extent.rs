//! What the columns of a file say together, while somebody writes it or to settle it (R2 to R5).

use xtfs_core::{ColumnIndex, FileEpoch, Floor, Timestamp};

use crate::state::inode::ColumnsState;
use crate::state::{Inode, Layout};

/// What one column answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnAnswer {
    pub index: ColumnIndex,
    pub length: u64,
    pub allocated: u64,
    /// `None`: never written.
    pub mtime: Option<Timestamp>,
    /// That the column has met. Lower than the file's: it is still to be cut to the floor.
    pub file_epoch: FileEpoch,
}

/// What all columns of `inode` say together. What one holds above a floor that it has not met yet is
/// cut already (R7).
pub fn together(inode: &Inode, layout: &Layout, answers: &[ColumnAnswer]) -> ColumnsState {
    // A column longer than any file is damage that a read meets; the size stays what the rest says.
    let end = |answer: &ColumnAnswer| {
        layout.striping.file_len(answer.index, length_below_floor(inode, layout, answer))
    };
    let mut allocated = vec![0; layout.sets.len()];
    for answer in answers {
        if let Some(column) = allocated.get_mut(usize::from(answer.index.0)) {
            *column = answer.allocated;
        }
    }
    ColumnsState {
        size: answers.iter().filter_map(end).max().unwrap_or(0),
        mtime: answers.iter().filter_map(|answer| answer.mtime).max(),
        allocated,
    }
}

fn length_below_floor(inode: &Inode, layout: &Layout, answer: &ColumnAnswer) -> u64 {
    if inode.floor == Floor::NONE || answer.file_epoch >= inode.file_epoch {
        return answer.length;
    }
    answer.length.min(layout.striping.column_len(inode.floor.0, answer.index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xtfs_core::{DataNumber, DataVersion, Ino, ReplicaSetId, StripeLayout};

    use super::*;
    use crate::state::FileKind;

    const K: u64 = 1024;

    fn inode(width: u16, size: u64, mtime: i64) -> Inode {
        let layout = Layout {
            striping: StripeLayout::new(4 * K, width.into()).unwrap(),
            data: DataNumber(1),
            version: DataVersion(0),
            sets: (0..width).map(|set| ReplicaSetId(set.into())).collect(),
        };
        Inode {
            ino: Ino(2),
            generation: 0,
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            size,
            allocated: Vec::new(),
            atime: Timestamp(0),
            mtime: Timestamp(mtime),
            ctime: Timestamp(mtime),
            btime: Timestamp(0),
            change: 1,
            rdev: 0,
            layout: Some(layout),
            file_epoch: FileEpoch(3),
            floor: Floor::NONE,
            writing: true,
            writer: None,
            dirty: false,
            round: 1,
            mtime_ignore: None,
            target: Vec::new(),
            parent: Ino(1),
            next_cookie: 0,
            default_layout: None,
            acls: None,
        }
    }

    fn answer(index: u16, length: u64, mtime: i64) -> ColumnAnswer {
        ColumnAnswer {
            index: ColumnIndex(index),
            length,
            allocated: length.next_multiple_of(4 * K),
            mtime: (mtime != 0).then_some(Timestamp(mtime)),
            file_epoch: FileEpoch(3),
        }
    }

    fn seen(inode: &Inode, answers: &[ColumnAnswer]) -> Inode {
        inode.with_columns(&together(inode, inode.layout.as_ref().unwrap(), answers))
    }

    #[test]
    fn the_largest_size_and_the_newest_time_win() {
        let answers = [answer(0, 4 * K, 20), answer(1, 10, 30)];
        let small = seen(&inode(2, 100, 10), &answers);
        assert_eq!((small.size, small.allocated), (4 * K + 10, vec![4 * K, 4 * K]));
        assert_eq!((small.mtime, small.ctime), (Timestamp(30), Timestamp(30)));
        let large = seen(&inode(2, 1 << 20, 40), &answers);
        assert_eq!((large.size, large.mtime), (1 << 20, Timestamp(40)));
    }

    #[test]
    fn a_time_set_by_hand_stays_until_the_next_write() {
        let set = |mtime| Inode { mtime_ignore: Some(Timestamp(30)), ..inode(1, 1, mtime) };
        assert_eq!(seen(&set(5), &[answer(0, 1, 30)]).mtime, Timestamp(5));
        assert_eq!(seen(&set(5), &[answer(0, 1, 31)]).mtime, Timestamp(31));
    }

    #[test]
    fn columns_that_were_never_written_say_nothing() {
        let own = inode(2, 7, 5);
        let told = seen(&own, &[answer(0, 0, 0), answer(1, 0, 0)]);
        assert_eq!((told.size, told.mtime, told.ctime), (7, Timestamp(5), Timestamp(5)));
    }

    #[test]
    fn what_a_column_has_yet_to_cut_is_cut_already() {
        let cut = Inode { floor: Floor(10), file_epoch: FileEpoch(4), ..inode(1, 10, 5) };
        assert_eq!(seen(&cut, &[answer(0, 3 * K, 4)]).size, 10);
        let met = ColumnAnswer { file_epoch: FileEpoch(4), ..answer(0, 3 * K, 4) };
        assert_eq!(seen(&cut, &[met]).size, 3 * K);
    }

    proptest! {
        #[test]
        fn whatever_was_written_last_the_size_is_found(
            width in 1..6u16, size in 0..200 * K, known in 0..200 * K
        ) {
            let inode = inode(width, known, 0);
            let striping = inode.layout.as_ref().unwrap().striping;
            let answers: Vec<_> = striping
                .columns()
                .map(|index| answer(index.0, striping.column_len(size, index), 1))
                .collect();
            prop_assert_eq!(seen(&inode, &answers).size, size.max(known));
        }
    }
}
