//! What was written to a file and is kept back, by offset. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use xtfs_core::Timestamp;

#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Neither overlapping nor touching each other.
    extents: BTreeMap<u64, BytesMut>,
    len: usize,
    mtime: Timestamp,
    /// Of the oldest write.
    since: Option<Instant>,
    /// The bytes' share of the bound of all files.
    permit: Option<OwnedSemaphorePermit>,
}

/// Everything that was kept back, to be written now.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) extents: Vec<(u64, Bytes)>,
    pub(crate) mtime: Timestamp,
    /// Given back when it is written.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

impl Dirty {
    /// Later bytes replace earlier ones. Its end is a valid offset; `room` is for all of it.
    pub(crate) fn add(
        &mut self,
        offset: u64,
        data: &[u8],
        mtime: Timestamp,
        now: Instant,
        room: OwnedSemaphorePermit,
    ) {
        self.since.get_or_insert(now);
        self.mtime = self.mtime.max(mtime);
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
        self.take_room(room);
    }

    /// What was replaced takes no more room.
    fn take_room(&mut self, room: OwnedSemaphorePermit) {
        let mut permit = match self.permit.take() {
            Some(mut held) => {
                held.merge(room);
                held
            }
            None => room,
        };
        drop(permit.split(permit.num_permits().saturating_sub(self.len)));
        self.permit = Some(permit);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Pieces that are apart.
    pub(crate) fn pieces(&self) -> usize {
        self.extents.len()
    }

    /// Offset of the farthest byte's end.
    pub(crate) fn end(&self) -> u64 {
        self.extents.last_key_value().map_or(0, |(start, bytes)| start + bytes.len() as u64)
    }

    /// When the oldest write was made.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(crate) fn take(&mut self) -> Taken {
        let Dirty { extents, mtime, permit, .. } = std::mem::take(self);
        let extents = extents.into_iter().map(|(offset, bytes)| (offset, bytes.freeze())).collect();
        Taken { extents, mtime, _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    const ROOM: usize = 10_000;

    fn take(room: &Arc<Semaphore>, len: usize) -> OwnedSemaphorePermit {
        room.clone().try_acquire_many_owned(u32::try_from(len).unwrap()).unwrap()
    }

    proptest! {
        /// The model is one byte for each offset.
        #[test]
        fn later_bytes_replace_earlier_ones(
            writes in prop::collection::vec((0..300u64, 1..40usize), 1..40),
        ) {
            let room = Arc::new(Semaphore::new(ROOM));
            let mut dirty = Dirty::default();
            let mut model = BTreeMap::new();
            for (number, (offset, len)) in writes.into_iter().enumerate() {
                let fill = u8::try_from(number + 1).unwrap();
                let permit = take(&room, len);
                dirty.add(offset, &vec![fill; len], Timestamp(1), Instant::now(), permit);
                model.extend((offset..offset + len as u64).map(|at| (at, fill)));
                prop_assert_eq!(dirty.len(), model.len());
                prop_assert_eq!(room.available_permits(), ROOM - model.len());
                prop_assert_eq!(dirty.end(), model.last_key_value().map_or(0, |(at, _)| at + 1));
            }
            let pieces = dirty.pieces();
            let taken = dirty.take();
            prop_assert_eq!(pieces, taken.extents.len());
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
        let room = Arc::new(Semaphore::new(ROOM));
        let mut dirty = Dirty::default();
        let first = Instant::now();
        for (offset, mtime) in [(0, 7), (100, 5)] {
            let now = first + std::time::Duration::from_secs(offset);
            dirty.add(offset, b"ab", Timestamp(mtime), now, take(&room, 2));
        }
        assert_eq!(dirty.since(), Some(first));
        assert_eq!(dirty.take().mtime, Timestamp(7));
        assert_eq!((dirty.since(), dirty.len()), (None, 0));
    }
}
