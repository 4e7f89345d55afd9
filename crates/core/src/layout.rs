//! How a file's bytes map to columns.
//!
//! A file is cut into stripes of equal size; stripe `n` belongs to column `n mod width`, and a
//! column's stripes lie back to back. So a range of the file is one range of each column. Client,
//! MRC and OSD all compute this, so it lives here, once.

use serde::{Deserialize, Serialize};

use crate::ids::ColumnIndex;

/// A range of bytes. Its end fits in a `u64` by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    len: u64,
}

/// Stripe size in bytes and stripe width in columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StripeLayout {
    stripe_size: u32,
    stripe_width: u16,
}

/// A piece of a file that lies in one piece in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnRange {
    pub column: ColumnIndex,
    /// In bytes of the column.
    pub range: ByteRange,
    /// Where it starts in the file.
    pub file_start: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("stripe size {0} is not between 4 KiB and 64 MiB in multiples of 4 KiB")]
    StripeSize(u64),
    #[error("stripe width {0} is not between 1 and {max}", max = StripeLayout::WIDTH_MAX)]
    StripeWidth(u64),
}

impl ByteRange {
    pub fn new(start: u64, len: u64) -> Option<Self> {
        start.checked_add(len).map(|_end| ByteRange { start, len })
    }

    /// Empty if `end` is before `start`.
    pub fn between(start: u64, end: u64) -> Self {
        ByteRange { start, len: end.saturating_sub(start) }
    }

    pub fn start(self) -> u64 {
        self.start
    }

    pub fn end(self) -> u64 {
        self.start + self.len
    }

    pub fn len(self) -> u64 {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl StripeLayout {
    pub const STRIPE_SIZE_MIN: u64 = 4 << 10;
    pub const STRIPE_SIZE_MAX: u64 = 64 << 20;
    /// Bounds the calls that one request of an application can become.
    pub const WIDTH_MAX: u64 = 1024;

    pub fn new(stripe_size: u64, stripe_width: u64) -> Result<Self, LayoutError> {
        let sizes = Self::STRIPE_SIZE_MIN..=Self::STRIPE_SIZE_MAX;
        if !sizes.contains(&stripe_size) || !stripe_size.is_multiple_of(Self::STRIPE_SIZE_MIN) {
            return Err(LayoutError::StripeSize(stripe_size));
        }
        if !(1..=Self::WIDTH_MAX).contains(&stripe_width) {
            return Err(LayoutError::StripeWidth(stripe_width));
        }
        // Both were compared with bounds that fit.
        #[expect(clippy::cast_possible_truncation)]
        Ok(StripeLayout { stripe_size: stripe_size as u32, stripe_width: stripe_width as u16 })
    }

    pub fn stripe_size(self) -> u64 {
        u64::from(self.stripe_size)
    }

    pub fn stripe_width(self) -> u16 {
        self.stripe_width
    }

    pub fn columns(self) -> impl Iterator<Item = ColumnIndex> {
        (0..self.stripe_width).map(ColumnIndex)
    }

    /// The same stripe size over fewer columns, where there are not targets enough.
    pub fn narrowed(self, width: u16) -> Self {
        StripeLayout { stripe_width: self.stripe_width.min(width.max(1)), ..self }
    }

    /// How many of the first `file_len` bytes of a file lie in `column`.
    pub fn column_len(self, file_len: u64, column: ColumnIndex) -> u64 {
        let row = self.row_size();
        let rest = file_len % row;
        let before = u64::from(column.0) * self.stripe_size();
        file_len / row * self.stripe_size() + rest.saturating_sub(before).min(self.stripe_size())
    }

    /// Smallest file that has `column_len` bytes in `column`. `None` past `u64`.
    pub fn file_len(self, column: ColumnIndex, column_len: u64) -> Option<u64> {
        match column_len.checked_sub(1) {
            None => Some(0),
            Some(last) => self.file_offset(column, last)?.checked_add(1),
        }
    }

    /// Where the byte at `offset` of `column` stands in the file. `None` past `u64`.
    pub fn file_offset(self, column: ColumnIndex, offset: u64) -> Option<u64> {
        let stripe = offset / self.stripe_size();
        let before = u64::from(column.0) * self.stripe_size();
        stripe.checked_mul(self.row_size())?.checked_add(before + offset % self.stripe_size())
    }

    /// What `range` of the file is in `column`: one range, empty if it does not touch it.
    pub fn column_range(self, range: ByteRange, column: ColumnIndex) -> ByteRange {
        let start = self.column_len(range.start(), column);
        ByteRange::between(start, self.column_len(range.end(), column))
    }

    /// Cuts `range` of the file at stripe borders, in file order. Empty for an empty range.
    pub fn pieces(self, range: ByteRange) -> impl Iterator<Item = ColumnRange> {
        let size = self.stripe_size();
        let mut at = range.start();
        std::iter::from_fn(move || {
            if at == range.end() {
                return None;
            }
            let stripe = at / size;
            let len = (size - at % size).min(range.end() - at);
            // The remainder is below the width, which is a `u16`.
            #[expect(clippy::cast_possible_truncation)]
            let column = ColumnIndex((stripe % u64::from(self.stripe_width)) as u16);
            let start = stripe / u64::from(self.stripe_width) * size + at % size;
            let piece = ColumnRange { column, range: ByteRange { start, len }, file_start: at };
            at += len;
            Some(piece)
        })
    }

    /// Bytes of one stripe of every column.
    fn row_size(self) -> u64 {
        self.stripe_size() * u64::from(self.stripe_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: u64 = 1024;

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for size in [0, 1, K, 4 * K + 1, 6 * K, (64 << 20) + 4096, 1 << 40] {
            assert_eq!(StripeLayout::new(size, 1), Err(LayoutError::StripeSize(size)));
        }
        for width in [0, StripeLayout::WIDTH_MAX + 1] {
            assert_eq!(StripeLayout::new(4 * K, width), Err(LayoutError::StripeWidth(width)));
        }
        assert!(StripeLayout::new(64 << 20, StripeLayout::WIDTH_MAX).is_ok());
    }

    #[test]
    fn pieces_are_cut_at_stripe_borders() {
        #[track_caller]
        fn check(start: u64, len: u64, expected: &[(u16, u64, u64)]) {
            let layout = StripeLayout::new(4 * K, 3).unwrap();
            let pieces = layout.pieces(ByteRange::new(start, len).unwrap());
            let actual: Vec<_> =
                pieces.map(|p| (p.column.0, p.range.start(), p.range.len())).collect();
            assert_eq!(actual, expected);
        }
        check(0, 0, &[]);
        check(0, 1, &[(0, 0, 1)]);
        check(4 * K - 1, 2, &[(0, 4 * K - 1, 1), (1, 0, 1)]);
        check(12 * K, 4 * K, &[(0, 4 * K, 4 * K)]);
        check(u64::MAX - 1, 1, &[(0, 6_148_914_691_236_519_934, 1)]);
    }

    fn layouts() -> impl Strategy<Value = StripeLayout> {
        (1..5u64, 1..6u64).prop_map(|(size, width)| StripeLayout::new(size * 4 * K, width).unwrap())
    }

    proptest! {
        /// The model: count the bytes of each column one stripe after the other.
        #[test]
        fn columns_agree_with_counting(layout in layouts(), start in 0..200 * K, len in 0..200 * K) {
            let range = ByteRange::new(start, len).unwrap();
            let mut at = start;
            let mut counted = vec![0; usize::from(layout.stripe_width())];
            for piece in layout.pieces(range) {
                prop_assert_eq!(piece.file_start, at);
                prop_assert_eq!(layout.file_offset(piece.column, piece.range.start()), Some(at));
                counted[usize::from(piece.column.0)] += piece.range.len();
                at += piece.range.len();
            }
            prop_assert_eq!(at, range.end());
            for column in layout.columns() {
                let counted = counted[usize::from(column.0)];
                prop_assert_eq!(layout.column_range(range, column).len(), counted);
            }
        }

        #[test]
        fn the_longest_column_tells_the_file_length(layout in layouts(), len in 0..400 * K) {
            let told = layout.columns().map(|column| {
                layout.file_len(column, layout.column_len(len, column)).unwrap()
            });
            prop_assert_eq!(told.max(), Some(len));
        }
    }
}
