//! What was written to a file and is kept back, by offset. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xtfs_core::Timestamp;

/// `P` is the share of a bound.
#[derive(Debug)]
pub(crate) struct Dirty<P> {
    /// Neither overlapping nor touching each other.
    extents: BTreeMap<u64, BytesMut>,
    len: usize,
    mtime: Timestamp,
    /// Of the oldest write.
    since: Option<Instant>,
    permits: Vec<P>,
}

/// Everything that was kept back, to be written now.
#[derive(Debug)]
pub(crate) struct Taken<P> {
    pub(crate) extents: Vec<(u64, Bytes)>,
    pub(crate) mtime: Timestamp,
    /// Given back when it is written.
    pub(crate) _permits: Vec<P>,
}

impl<P> Default for Dirty<P> {
    fn default() -> Self {
        Dirty {
            extents: BTreeMap::new(),
            len: 0,
            mtime: Timestamp::default(),
            since: None,
            permits: Vec::new(),
        }
    }
}

impl<P> Dirty<P> {
    /// Later bytes replace earlier ones. Its end is a valid offset.
    pub(crate) fn add(
        &mut self,
        offset: u64,
        data: &[u8],
        mtime: Timestamp,
        now: Instant,
        permit: P,
    ) {
        self.since.get_or_insert(now);
        self.mtime = self.mtime.max(mtime);
        self.permits.push(permit);
        let end = offset + data.len() as u64;
        let before = self.extents.range(..=offset).next_back();
        let start = match before {
            Some((start, bytes)) if start + bytes.len() as u64 >= offset => *start,
            _ => offset,
        };
        let mut extent = self.extents.remove(&start).unwrap_or_default();
        self.len -= extent.len();
        let at = usize::try_from(offset - start).expect("within an extent in memory");
        let kept = extent.len().min(at + data.len());
        extent[at..kept].copy_from_slice(&data[..kept - at]);
        extent.extend_from_slice(&data[kept - at..]);
        while let Some((next, _)) = self.extents.range(start..=end).next() {
            let next = *next;
            let bytes = self.extents.remove(&next).unwrap_or_default();
            self.len -= bytes.len();
            // Its part behind the new bytes stays.
            let overlap = usize::try_from(end - next).expect("within an extent in memory");
            extent.extend_from_slice(bytes.get(overlap..).unwrap_or_default());
        }
        self.len += extent.len();
        self.extents.insert(start, extent);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// When the oldest write was made.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(crate) fn take(&mut self) -> Taken<P> {
        let Dirty { extents, mtime, permits, .. } = std::mem::take(self);
        let extents = extents.into_iter().map(|(offset, bytes)| (offset, bytes.freeze())).collect();
        Taken { extents, mtime, _permits: permits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model is one byte for each offset.
        #[test]
        fn later_bytes_replace_earlier_ones(
            writes in prop::collection::vec((0..300u64, 1..40usize), 1..40),
        ) {
            let mut dirty = Dirty::default();
            let mut model = BTreeMap::new();
            for (number, (offset, len)) in writes.into_iter().enumerate() {
                let fill = u8::try_from(number + 1).unwrap();
                dirty.add(offset, &vec![fill; len], Timestamp(1), Instant::now(), ());
                model.extend((offset..offset + len as u64).map(|at| (at, fill)));
                prop_assert_eq!(dirty.len(), model.len());
            }
            let taken = dirty.take();
            prop_assert!(dirty.is_empty());
            let mut last_end = None;
            let mut seen = BTreeMap::new();
            for (offset, bytes) in taken.extents {
                prop_assert!(last_end.is_none_or(|end| offset > end), "extents touch");
                last_end = Some(offset + bytes.len() as u64);
                seen.extend((offset..).zip(bytes));
            }
            prop_assert_eq!(seen, model);
        }
    }

    #[test]
    fn the_newest_time_and_the_oldest_age_count() {
        let mut dirty = Dirty::default();
        let first = Instant::now();
        for (offset, mtime) in [(0, 7), (100, 5)] {
            let now = first + std::time::Duration::from_secs(offset);
            dirty.add(offset, b"ab", Timestamp(mtime), now, ());
        }
        assert_eq!(dirty.since(), Some(first));
        assert_eq!(dirty.take().mtime, Timestamp(7));
        assert_eq!((dirty.since(), dirty.len()), (None, 0));
    }
}
