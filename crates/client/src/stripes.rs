//! How a range of a file becomes requests to columns, and their data a range of the file again.
//! Pure.

use bytes::{Bytes, BytesMut};
use xtfs_core::checksum::{BLOCK_SIZE, block_sum};
use xtfs_core::{ByteRange, ColumnIndex, Error, Result, StripeLayout};
use xtfs_proto::v1::IoReply;

/// Most bytes of one request to a column.
pub(crate) const CHUNK_BYTES_MAX: u64 = 1 << 20;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A range of one column that is asked for at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) column: ColumnIndex,
    /// In bytes of the column.
    pub(crate) range: ByteRange,
    /// What it is made of, in order.
    pieces: Vec<Piece>,
}

/// `len` bytes that stand at `at` of the file range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    at: usize,
    len: usize,
}

/// What a chunk's read has brought.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    extents: Vec<ByteRange>,
    data: Bytes,
    /// Where the column ends, as far as the request saw.
    pub(crate) end: u64,
}

/// Cuts `range` of a file into chunks, column by column.
pub(crate) fn chunks(layout: StripeLayout, range: ByteRange) -> Vec<Chunk> {
    let mut open: Vec<Option<Chunk>> = vec![None; usize::from(layout.stripe_width())];
    let mut done = Vec::new();
    for piece in layout.pieces(range) {
        let slot = &mut open[usize::from(piece.column.0)];
        let (mut start, mut at) = (piece.range.start(), piece.file_start - range.start());
        // A stripe of up to 64 MiB is more than one chunk.
        while start < piece.range.end() {
            let chunk = slot.get_or_insert_with(|| Chunk {
                column: piece.column,
                range: ByteRange::between(start, start),
                pieces: Vec::new(),
            });
            let room = chunk_end(chunk.range.start()) - start;
            let len = room.min(piece.range.end() - start);
            chunk.range = ByteRange::between(chunk.range.start(), start + len);
            chunk.pieces.push(Piece { at: size(at), len: size(len) });
            (start, at) = (start + len, at + len);
            if chunk.range.end() == chunk_end(chunk.range.start()) {
                done.extend(slot.take());
            }
        }
    }
    done.extend(open.into_iter().flatten());
    done
}

/// Chunks end at multiples of their size, so that big ones stay aligned to blocks.
fn chunk_end(start: u64) -> u64 {
    (start / CHUNK_BYTES_MAX + 1).saturating_mul(CHUNK_BYTES_MAX)
}

/// A range of a file that one application asked for fits in memory.
fn size(len: u64) -> usize {
    usize::try_from(len).expect("a request's length fits in memory")
}

impl Chunk {
    /// The chunk's part of `data`, which is the whole range. Without a copy if it is one piece.
    pub(crate) fn gather(&self, data: &Bytes) -> Bytes {
        if let [piece] = self.pieces[..] {
            return data.slice(piece.at..piece.at + piece.len);
        }
        let mut gathered = BytesMut::with_capacity(size(self.range.len()));
        for piece in &self.pieces {
            gathered.extend_from_slice(&data[piece.at..piece.at + piece.len]);
        }
        gathered.freeze()
    }

    /// What is asked of the OSD: the range, out to whole blocks.
    pub(crate) fn aligned(&self) -> ByteRange {
        let end =
            self.range.end().checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX / BLOCK * BLOCK);
        ByteRange::between(self.range.start() / BLOCK * BLOCK, end)
    }

    /// Whether the column holds all of it.
    pub(crate) fn is_short(&self, fetched: &Fetched) -> bool {
        fetched.end < self.range.end()
    }

    /// Where in the file range the first byte stands that the column does not hold.
    pub(crate) fn first_missing(&self, fetched: &Fetched) -> Option<u64> {
        let mut start = self.range.start();
        for piece in &self.pieces {
            let end = start + piece.len as u64;
            if fetched.end < end {
                return Some(piece.at as u64 + fetched.end.saturating_sub(start));
            }
            start = end;
        }
        None
    }

    /// All of the range without a copy, if the reply holds it in one piece.
    pub(crate) fn whole(&self, fetched: &Fetched) -> Option<Bytes> {
        let [extent] = fetched.extents[..] else { return None };
        let inside = extent.start() <= self.range.start() && self.range.end() <= extent.end();
        if !inside || self.pieces.len() != 1 {
            return None;
        }
        let from = size(self.range.start() - extent.start());
        Some(fetched.data.slice(from..from + size(self.range.len())))
    }

    /// Puts what was fetched into `buffer`, which is the whole range and full of zeros.
    pub(crate) fn scatter(&self, fetched: &Fetched, buffer: &mut [u8]) {
        let mut data = 0;
        for extent in &fetched.extents {
            let mut start = self.range.start();
            for piece in &self.pieces {
                let end = start + piece.len as u64;
                let (from, to) = (start.max(extent.start()), end.min(extent.end()));
                if from < to {
                    let source = data + size(from - extent.start());
                    let target = piece.at + size(from - start);
                    let len = size(to - from);
                    buffer[target..target + len]
                        .copy_from_slice(&fetched.data[source..source + len]);
                }
                start = end;
            }
            data += size(extent.len());
        }
    }
}

impl Fetched {
    /// Checks the reply to a read of `asked`: its shape, and every sum.
    pub(crate) fn check(asked: ByteRange, reply: IoReply) -> Result<Self> {
        let bad = |why: &str| Error::Corrupt(format!("reply to a read: {why}"));
        let len = u64::from(reply.length);
        if len > asked.len() {
            return Err(bad("longer than asked"));
        }
        let mut extents = Vec::with_capacity(reply.extents.len().max(1));
        let (mut total, mut last) = (0, 0);
        for extent in &reply.extents {
            let (offset, length) = (u64::from(extent.offset), u64::from(extent.length));
            if offset < last || offset % BLOCK != 0 || offset + length > len {
                return Err(bad("its extents are out of order or bounds"));
            }
            (total, last) = (total + length, offset + length);
            let start = asked.start() + offset;
            extents.push(ByteRange::between(start, start + length));
        }
        if extents.is_empty() && !reply.data.is_empty() {
            total = len;
            extents.push(ByteRange::between(asked.start(), asked.start() + len));
        }
        if total != reply.data.len() as u64 {
            return Err(bad("its data is not as long as its extents"));
        }
        let blocks = reply.data.chunks(BLOCK_SIZE);
        if blocks.len() != reply.block_sums.len() {
            return Err(bad("not one sum for each block"));
        }
        let mut blocks = blocks.zip(&reply.block_sums);
        if blocks.any(|(block, sum)| block_sum(block) != *sum) {
            return Err(bad("a block does not match its sum"));
        }
        Ok(Fetched { extents, data: reply.data, end: asked.start() + len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xtfs_core::checksum::sum;
    use xtfs_proto::v1::Extent;

    const K: u64 = 1024;

    #[test]
    fn a_chunk_is_one_range_of_its_column() {
        let layout = StripeLayout::new(128 * K, 4).unwrap();
        let cut = chunks(layout, ByteRange::new(0, 1 << 20).unwrap());
        let ranges: Vec<_> =
            cut.iter().map(|c| (c.column.0, c.range.start(), c.range.len())).collect();
        let expected: Vec<_> = (0..4).map(|column| (column, 0, 256 * K)).collect();
        assert_eq!(ranges, expected);
        let big =
            chunks(StripeLayout::new(4 << 20, 1).unwrap(), ByteRange::new(5, 3 << 20).unwrap());
        assert_eq!(big.len(), 4);
        assert!(big.iter().all(|chunk| chunk.range.len() <= CHUNK_BYTES_MAX));
    }

    #[test]
    fn a_wrong_sum_is_corrupt() {
        let asked = ByteRange::new(0, 4096).unwrap();
        let reply = |sum| IoReply {
            length: 3,
            data: Bytes::from_static(b"abc"),
            block_sums: vec![sum],
            ..IoReply::default()
        };
        assert!(Fetched::check(asked, reply(block_sum(b"abc"))).is_ok());
        let wrong = Fetched::check(asked, reply(sum(b"abc")));
        assert!(matches!(wrong, Err(Error::Corrupt(_))), "{wrong:?}");
        let long = IoReply { length: 5000, ..reply(block_sum(b"abc")) };
        assert!(Fetched::check(asked, long).is_err());
    }

    /// An OSD of one column: data, and which blocks are holes.
    fn answer(column: &[u8], asked: ByteRange) -> IoReply {
        let end = (column.len() as u64).min(asked.end());
        let mut reply = IoReply {
            length: u32::try_from(end.saturating_sub(asked.start())).unwrap(),
            ..IoReply::default()
        };
        let mut data = BytesMut::new();
        for at in (asked.start()..end).step_by(BLOCK_SIZE) {
            let block = &column[size(at)..size(end.min(at + BLOCK))];
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            reply.block_sums.push(block_sum(block));
            reply.extents.push(Extent {
                offset: u32::try_from(at - asked.start()).unwrap(),
                length: u32::try_from(block.len()).unwrap(),
            });
            data.extend_from_slice(block);
        }
        reply.data = data.freeze();
        reply
    }

    proptest! {
        /// The model is a `Vec`: what is written through chunks is read back through chunks.
        #[test]
        fn what_is_scattered_is_gathered(
            size_blocks in 1..5u64,
            width in 1..6u64,
            writes in prop::collection::vec((0..150 * K, 1..60 * K, 1..255u8), 1..6),
            (from, len) in (0..200 * K, 1..120 * K),
        ) {
            let layout = StripeLayout::new(size_blocks * 4 * K, width).unwrap();
            let mut model = Vec::new();
            let mut columns = vec![Vec::new(); size(width)];
            for (offset, len, fill) in writes {
                let end = size(offset + len);
                model.resize(model.len().max(end), 0);
                let data: Vec<u8> = (0..251).map(|n| fill ^ n).cycle().take(size(len)).collect();
                model[size(offset)..end].copy_from_slice(&data);
                let data = Bytes::from(data);
                for chunk in chunks(layout, ByteRange::new(offset, len).unwrap()) {
                    let column: &mut Vec<u8> = &mut columns[usize::from(chunk.column.0)];
                    let end = size(chunk.range.end());
                    column.resize(column.len().max(end), 0);
                    column[size(chunk.range.start())..end].copy_from_slice(&chunk.gather(&data));
                }
            }
            let range = ByteRange::new(from, len).unwrap();
            let mut buffer = vec![0; size(len)];
            let mut missing = None;
            for chunk in chunks(layout, range) {
                let reply = answer(&columns[usize::from(chunk.column.0)], chunk.aligned());
                let fetched = Fetched::check(chunk.aligned(), reply).unwrap();
                chunk.scatter(&fetched, &mut buffer);
                if let Some(at) = chunk.first_missing(&fetched) {
                    prop_assert!(chunk.is_short(&fetched));
                    missing = Some(missing.unwrap_or(at).min(at));
                }
                if let Some(whole) = chunk.whole(&fetched) {
                    prop_assert_eq!(&whole[..], &buffer[chunk.pieces[0].at..][..chunk.pieces[0].len]);
                }
            }
            let file_len = model.len();
            // Nothing missing means that the range lies in the file.
            prop_assert!(missing.is_some() || file_len >= size(from + len));
            model.resize(file_len.max(size(from + len)), 0);
            prop_assert_eq!(&buffer[..], &model[size(from)..size(from + len)]);
        }
    }
}
