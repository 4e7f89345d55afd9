//! Where data and holes of a striped file begin, from what each column knows. Pure.

use xtfs_core::{ByteRange, ColumnIndex, StripeLayout};

/// `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    Data,
    Hole,
}

/// Of each column, the first extent with data at or after the column's share of the offset that is looked from. Empty:
/// only holes follow.
pub(crate) type Runs = Vec<ByteRange>;

/// `offset` lies below `size`. `None`: no data follows.
pub(crate) fn seek(
    layout: StripeLayout,
    runs: &[ByteRange],
    offset: u64,
    size: u64,
    to: Seek,
) -> Option<u64> {
    let columns = layout.columns().zip(runs);
    // A column's bytes stand in the file in the same order, so the first of a column is the first in the file.
    let place = |(column, run): (ColumnIndex, &ByteRange)| {
        let start = layout.column_len(offset, column);
        let first = match to {
            Seek::Data if run.end() <= start || run.is_empty() => return None,
            Seek::Data => run.start().max(start),
            Seek::Hole if run.is_empty() || run.start() > start => start,
            Seek::Hole => run.end().max(start),
        };
        layout.file_offset(column, first)
    };
    let first = columns.filter_map(place).min().filter(|&first| first < size);
    match to {
        Seek::Data => first,
        // The end of the file is a hole.
        Seek::Hole => Some(first.unwrap_or(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u64 = 4096;

    /// The run of a column of blocks, as an OSD tells it.
    fn run(blocks: &[bool], from: u64) -> ByteRange {
        let is_data = |block: u64| blocks.get(usize::try_from(block).unwrap()) == Some(&true);
        let end = blocks.len() as u64;
        let Some(first) = (from / BLOCK..end).find(|&block| is_data(block)) else {
            return ByteRange::between(0, 0);
        };
        let last = (first..=end).find(|&block| !is_data(block)).unwrap();
        ByteRange::between((first * BLOCK).max(from), last * BLOCK)
    }

    proptest! {
        /// The model looks at each block of the file in turn.
        #[test]
        fn data_and_holes_are_found_block_by_block(
            stripe_blocks in 1..4u64,
            width in 1..5u64,
            blocks in prop::collection::vec(any::<bool>(), 1..60),
            (offset, cut) in (0..60 * BLOCK, 0..BLOCK),
        ) {
            let layout = StripeLayout::new(stripe_blocks * BLOCK, width).unwrap();
            let size = blocks.len() as u64 * BLOCK - cut;
            prop_assume!(offset < size);
            let mut columns = vec![Vec::new(); usize::try_from(width).unwrap()];
            let all = ByteRange::new(0, blocks.len() as u64 * BLOCK).unwrap();
            for piece in layout.pieces(all) {
                for at in (piece.file_start..piece.file_start + piece.range.len()).step_by(4096) {
                    let block = blocks[usize::try_from(at / BLOCK).unwrap()];
                    columns[usize::from(piece.column.0)].push(block);
                }
            }
            let runs: Vec<_> = layout
                .columns()
                .zip(&columns)
                .map(|(column, blocks)| run(blocks, layout.column_len(offset, column)))
                .collect();
            let find = |wanted: bool| {
                let mut at = offset;
                while at < size {
                    if blocks[usize::try_from(at / BLOCK).unwrap()] == wanted {
                        return Some(at);
                    }
                    at = (at / BLOCK + 1) * BLOCK;
                }
                None
            };
            prop_assert_eq!(seek(layout, &runs, offset, size, Seek::Data), find(true));
            let hole = find(false).unwrap_or(size);
            prop_assert_eq!(seek(layout, &runs, offset, size, Seek::Hole), Some(hole));
        }
    }
}
