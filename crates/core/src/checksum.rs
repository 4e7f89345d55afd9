//! The sum of a block, and how data is cut into blocks.
//!
//! Column data is summed with CRC-32 (IEEE) in blocks of 4 KiB, counted from the start of the column.

/// Bytes of a block.
pub const BLOCK_SIZE: usize = 4096;

/// CRC-32 of a block of zeros. Sums are stored XOR this, so that a hole's sum is 0.
pub const ZERO_BLOCK_SUM: u32 = 0xc71c_0011;

/// CRC-32 of `piece` as it stands.
pub fn sum(piece: &[u8]) -> u32 {
    crc32fast::hash(piece)
}

/// CRC-32 of `piece` filled up with zeros to a whole block. `piece` is at most a block.
pub fn block_sum(piece: &[u8]) -> u32 {
    static ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(piece);
    hasher.update(&ZEROS[piece.len()..]);
    hasher.finalize()
}

/// Cuts `data`, which starts at `offset` of a column, at block borders.
pub fn pieces(offset: u64, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Below `BLOCK_SIZE`, so it fits.
    #[expect(clippy::cast_possible_truncation)]
    let within = (offset % BLOCK_SIZE as u64) as usize;
    let (head, rest) = data.split_at(data.len().min((BLOCK_SIZE - within) % BLOCK_SIZE));
    let head = (!head.is_empty()).then_some(head);
    head.into_iter().chain(rest.chunks(BLOCK_SIZE))
}

/// The sums that travel with a write: one for each piece.
pub fn piece_sums(offset: u64, data: &[u8]) -> Vec<u32> {
    pieces(offset, data).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_zeros_is_the_constant() {
        assert_eq!(sum(&[0; BLOCK_SIZE]), ZERO_BLOCK_SUM);
        assert_eq!(block_sum(&[]), ZERO_BLOCK_SUM);
        assert_eq!(block_sum(b"ab"), sum(&[b"ab".as_slice(), &[0; BLOCK_SIZE - 2]].concat()));
    }

    #[test]
    fn data_is_cut_at_block_borders() {
        #[track_caller]
        fn check(offset: u64, len: usize, expected: &[usize]) {
            let data = vec![7; len];
            let cut: Vec<_> = pieces(offset, &data).map(<[u8]>::len).collect();
            assert_eq!(cut, expected);
        }
        check(0, 0, &[]);
        check(0, 1, &[1]);
        check(0, 4096, &[4096]);
        check(4095, 2, &[1, 1]);
        check(4097, 8192, &[4095, 4096, 1]);
        check(100, 50, &[50]);
    }
}
