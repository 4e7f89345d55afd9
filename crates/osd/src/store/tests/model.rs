//! The store against a vector of bytes.

use proptest::prelude::*;
use xtfs_core::{ByteRange, Timestamp};

use crate::store::Length;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, length: usize, fill: u8 },
    Zeros { offset: u64, length: usize },
    Punch { offset: u64, length: u64, grow: bool },
    Allocate { offset: u64, length: u64, grow: bool },
    Cut { floor: u64 },
    Sync,
    SyncAll,
    Restart,
    Close,
}

/// Over several segments of 16 KiB, and more than one range with a mark.
const END: u64 = 80 << 10;

fn step() -> impl Strategy<Value = Step> {
    let near = prop_oneof![4 => 0..END, 1 => (1u64 << 20) - 9000..(1 << 20) + 9000];
    let at = prop_oneof![near.clone(), near.prop_map(|offset| offset / 4096 * 4096)];
    let length = prop_oneof![0..300usize, 0..40_000usize, (0..6usize).prop_map(|n| n * 4096)];
    prop_oneof![
        6 => (at.clone(), length.clone(), 1..=255u8)
            .prop_map(|(offset, length, fill)| Step::Write { offset, length, fill }),
        1 => (at.clone(), length.clone()).prop_map(|(offset, length)| Step::Zeros { offset, length }),
        2 => (at.clone(), length.clone(), any::<bool>()).prop_map(
            |(offset, length, grow)| Step::Punch { offset, length: length as u64, grow }
        ),
        2 => (at.clone(), length, any::<bool>()).prop_map(
            |(offset, length, grow)| Step::Allocate { offset, length: length as u64, grow }
        ),
        2 => at.prop_map(|floor| Step::Cut { floor }),
        1 => Just(Step::Sync),
        1 => Just(Step::SyncAll),
        1 => Just(Step::Restart),
        1 => Just(Step::Close),
    ]
}

/// Bytes that differ from block to block.
pub(super) fn pattern(offset: u64, length: usize, fill: u8) -> Vec<u8> {
    (offset..).take(length).map(|at| fill.wrapping_add((at / 7) as u8) | 1).collect()
}

fn kept(grow: bool) -> Length {
    if grow { Length::Grow } else { Length::Keep }
}

struct Run {
    target: Target,
    id: ColumnId,
    epoch: u64,
    model: Vec<u8>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        let fence = fence(self.epoch, None);
        let store = &self.target.store;
        match *step {
            Step::Write { offset, length, fill } => {
                self.written(offset, &pattern(offset, length, fill));
            }
            Step::Zeros { offset, length } => self.written(offset, &vec![0; length]),
            Step::Punch { offset, length, grow } => {
                let range = ByteRange::new(offset, length).unwrap();
                let state = store.punch(self.id, fence, range, kept(grow), Timestamp(2)).unwrap();
                let end = (offset + length).min(self.model.len() as u64) as usize;
                if let Some(hole) = self.model.get_mut(offset as usize..end) {
                    hole.fill(0);
                }
                self.grown(range, grow);
                assert_eq!(state.length, self.model.len() as u64);
            }
            Step::Allocate { offset, length, grow } => {
                let range = ByteRange::new(offset, length).unwrap();
                let state =
                    store.allocate(self.id, fence, range, kept(grow), Timestamp(2)).unwrap();
                self.grown(range, grow);
                assert_eq!(state.length, self.model.len() as u64);
                let end = range.end().min(state.length);
                assert!(state.allocated >= end.saturating_sub(offset));
            }
            Step::Cut { floor } => {
                self.epoch += 1;
                let state = store.seal(self.id, super::fence(self.epoch, Some(floor))).unwrap();
                self.model.truncate(floor as usize);
                assert_eq!(state.length, self.model.len() as u64);
            }
            Step::Sync => store.sync(&[self.id]).unwrap(),
            Step::SyncAll => assert!(store.sync_all().unwrap() <= 1),
            Step::Restart => self.target.restart(),
            Step::Close => {
                store.close().unwrap();
                self.target.restart();
            }
        }
    }

    fn written(&mut self, offset: u64, data: &[u8]) {
        let fence = fence(self.epoch, None);
        let state = write(&self.target.store, self.id, fence, offset, data).unwrap();
        let (start, end) = (offset as usize, offset as usize + data.len());
        if !data.is_empty() {
            self.model.resize(self.model.len().max(end), 0);
            self.model[start..end].copy_from_slice(data);
        }
        assert_eq!(state.length, self.model.len() as u64);
    }

    fn grown(&mut self, range: ByteRange, grow: bool) {
        if grow && !range.is_empty() {
            self.model.resize(self.model.len().max(range.end() as usize), 0);
        }
    }

    /// What is outside of extents is zeros, and they come in order.
    fn check_extents(&self) {
        let fence = fence(self.epoch, None);
        let mut at = 0;
        loop {
            let (_, found) = self.target.store.next_data(self.id, fence, at).unwrap();
            let hole_end = found.as_ref().map_or(self.model.len(), |found| found.start as usize);
            assert!(hole_end as u64 >= at);
            assert!(self.model[at as usize..hole_end].iter().all(|&byte| byte == 0));
            let Some(found) = found else { return };
            assert!(found.end > found.start && found.end.is_multiple_of(4096));
            assert!(found.end <= (self.model.len() as u64).next_multiple_of(4096));
            at = found.end.min(self.model.len() as u64);
        }
    }

    fn check(&self) {
        self.check_extents();
        let store = &self.target.store;
        let fence = fence(self.epoch, None);
        let length = (self.model.len() as u32).next_multiple_of(4096) + 4096;
        let out = store.read(self.id, fence, 0, length).unwrap();
        assert!(filled(&out) == self.model, "the store differs from the model");
        let middle = (self.model.len() as u64 / 2) / 4096 * 4096;
        let out = store.read(self.id, fence, middle, 8192).unwrap();
        let end = self.model.len().min(middle as usize + 8192);
        assert!(filled(&out) == self.model[middle as usize..end], "the middle differs");
        assert_eq!(store.verify(self.id).unwrap(), []);
        let listed = store.list(None, 10, None).unwrap();
        let stat = store.stat(self.id).unwrap();
        assert_eq!(listed.first().map(|(_, state)| *state), stat);
        assert_eq!(out.state, stat.unwrap_or_default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_column_is_a_vector_of_bytes(
        steps in proptest::collection::vec(step(), 1..25), small in any::<bool>()
    ) {
        let target = if small { Target::small() } else { Target::large() };
        let mut run = Run { target, id: column(1), epoch: 0, model: Vec::new() };
        for step in &steps {
            run.step(step);
            run.check();
        }
        run.target.store.delete(&[run.id], Timestamp(9)).unwrap();
        let left = walk(run.target.dir.path());
        prop_assert!(left.is_empty(), "left on disk: {:?}", left);
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let directories = std::fs::read_dir(dir.join("columns")).unwrap();
    let files = directories.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}
