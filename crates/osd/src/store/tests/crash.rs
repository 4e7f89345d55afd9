//! Power cuts: of what was not synced, any page of any file may be old or new. Reads never fail after it, and
//! what was synced is right.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use xtfs_kv::{Batch, Durability, KeyRange, Pair, Read};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: u64,
        length: usize,
        fill: u8,
    },
    Punch {
        offset: u64,
        length: u64,
    },
    Cut {
        floor: u64,
    },
    Sync,
    SyncAll,
    Restart,
    /// `kv_too`: what was written to kv without a sync is lost as well.
    PowerCut {
        seed: u64,
        kv_too: bool,
    },
}

const END: u64 = 60 << 10;

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![4 => 0..END, 1 => (1u64 << 20) - 9000..(1 << 20) + 9000];
    let at = prop_oneof![at.clone(), at.prop_map(|offset| offset / 4096 * 4096)];
    let length = prop_oneof![1..300usize, 1..30_000usize, (1..5usize).prop_map(|n| n * 4096)];
    prop_oneof![
        6 => (at.clone(), length.clone(), 1..=255u8)
            .prop_map(|(offset, length, fill)| Step::Write { offset, length, fill }),
        2 => (at.clone(), length).prop_map(|(offset, length)| Step::Punch { offset, length: length as u64 }),
        1 => at.prop_map(|floor| Step::Cut { floor }),
        3 => Just(Step::Sync),
        1 => Just(Step::SyncAll),
        1 => Just(Step::Restart),
        3 => (any::<u64>(), any::<bool>()).prop_map(|(seed, kv_too)| Step::PowerCut { seed, kv_too }),
    ]
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let directories = std::fs::read_dir(dir.join("columns")).unwrap();
    let files = directories.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap());
    files
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

/// Numbers that look random, from a seed that is in the failure message.
struct Dice(u64);

impl Dice {
    fn coin(&mut self) -> bool {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

/// Each page and each length is the old or the new one.
fn torn(old: &Files, new: &Files, dice: &mut Dice) -> Files {
    let mut disk = Files::new();
    for (path, now) in new {
        let empty = Vec::new();
        let before = match old.get(path) {
            Some(before) => before,
            None if dice.coin() => continue,
            None => &empty,
        };
        let length = if dice.coin() { before.len() } else { now.len() };
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let page = bytes.len()..length.min(bytes.len() + 4096);
            let (first, second) = if dice.coin() { (before, now) } else { (now, before) };
            let source = if first.len() > page.start { first } else { second };
            let there = source.get(page.start..page.end.min(source.len())).unwrap_or_default();
            bytes.extend(there);
            bytes.resize(page.end, 0);
        }
        disk.insert(path.clone(), bytes);
    }
    disk
}

struct Run {
    target: Target,
    id: ColumnId,
    epoch: u64,
    boots: usize,
    /// What the column has, and for the part below the synced length whether it changed since.
    model: Vec<u8>,
    stable: Vec<bool>,
    on_disk: Files,
}

impl Run {
    fn step(&mut self, step: &Step) {
        let fence = fence(self.epoch, None);
        let store = &self.target.store;
        match *step {
            Step::Write { offset, length, fill } => {
                let data = super::model::pattern(offset, length, fill);
                write(store, self.id, fence, offset, &data).unwrap();
                let (start, end) = (offset as usize, offset as usize + length);
                self.model.resize(self.model.len().max(end), 0);
                self.model[start..end].copy_from_slice(&data);
                self.unstable(start..end);
            }
            Step::Punch { offset, length } => {
                let range = xtfs_core::ByteRange::new(offset, length).unwrap();
                let keep = crate::store::Length::Keep;
                store.punch(self.id, fence, range, keep, Timestamp(2)).unwrap();
                let (start, end) = (offset as usize, (offset + length) as usize);
                let end = end.min(self.model.len());
                if let Some(hole) = self.model.get_mut(start..end) {
                    hole.fill(0);
                }
                self.unstable(start..end);
            }
            Step::Cut { floor } => {
                self.epoch += 1;
                store.seal(self.id, super::fence(self.epoch, Some(floor))).unwrap();
                self.model.truncate(floor as usize);
                self.stable.truncate(floor as usize);
            }
            Step::Sync => {
                store.sync(&[self.id]).unwrap();
                self.synced();
            }
            Step::SyncAll => {
                store.sync_all().unwrap();
                self.synced();
            }
            Step::Restart => {
                self.target.restart_as(self.boots);
            }
            Step::PowerCut { seed, kv_too } => self.power_cut(seed, kv_too),
        }
    }

    fn unstable(&mut self, bytes: std::ops::Range<usize>) {
        let end = bytes.end.min(self.stable.len());
        if let Some(part) = self.stable.get_mut(bytes.start..end) {
            part.fill(false);
        }
    }

    fn synced(&mut self) {
        // A column that is not in memory since a restart is synced by its name only.
        self.target.store.sync(&[self.id]).unwrap();
        self.stable = vec![true; self.model.len()];
        self.on_disk = files(self.target.dir.path());
    }

    fn power_cut(&mut self, seed: u64, kv_too: bool) {
        if kv_too {
            self.target.kv.cut_power();
        } else {
            self.target.kv.sync().unwrap();
        }
        let new = files(self.target.dir.path());
        let disk = torn(&self.on_disk, &new, &mut Dice(seed));
        new.keys().for_each(|path| std::fs::remove_file(path).unwrap());
        disk.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        self.on_disk = disk;
        self.boots += 1;
        self.target.restart_as(self.boots);
        let store = &self.target.store;
        // An epoch that came with a first write may be forgotten.
        let fence = fence(self.epoch, None);
        let length = (END as u32 + (2 << 20)).next_multiple_of(4096);
        let found = filled(&store.read(self.id, fence, 0, length).unwrap());
        assert_eq!(store.verify(self.id).unwrap(), []);
        assert!(found.len() >= self.stable.len(), "{} of {}", found.len(), self.stable.len());
        for (at, _) in self.stable.iter().enumerate().filter(|(_, stable)| **stable) {
            assert_eq!(found[at], self.model[at], "synced byte {at}");
        }
        self.model = found;
    }
}

impl Target {
    fn restart_as(&mut self, boots: usize) {
        let boot = format!("boot {boots}");
        self.store =
            open(self.dir.path(), Arc::clone(&self.kv) as _, &self.options, &boot).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn synced_bytes_survive_and_nothing_is_corrupt(
        steps in proptest::collection::vec(step(), 2..20), small in any::<bool>()
    ) {
        let target = if small { Target::small() } else { Target::large() };
        let on_disk = files(target.dir.path());
        let id = column(1);
        let (model, stable) = (Vec::new(), Vec::new());
        let mut run = Run { target, id, epoch: 0, boots: 1, model, stable, on_disk };
        for step in &steps {
            run.step(step);
        }
        run.power_cut(7, true);
    }
}

/// Counts what waits for the disk.
#[derive(Debug, Default)]
struct CountingKv {
    kv: MemKv,
    synced: AtomicUsize,
}

impl Read for CountingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kv.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        self.kv.scan(range, limit)
    }
}

impl Kv for CountingKv {
    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        if durability == Durability::Synced {
            self.synced.fetch_add(1, Ordering::SeqCst);
        }
        self.kv.write(batch, durability)
    }

    fn sync(&self) -> Result<()> {
        self.synced.fetch_add(1, Ordering::SeqCst);
        self.kv.sync()
    }

    fn snapshot(&self) -> Box<dyn Read + '_> {
        self.kv.snapshot()
    }

    fn checkpoint(&self, path: &Path) -> Result<()> {
        self.kv.checkpoint(path)
    }
}

#[test]
fn kv_is_synced_for_marks_and_syncs_only() {
    let dir = temporary();
    let kv: Arc<CountingKv> = Arc::default();
    let options = Options { reserve: Some(0), ..Options::default() };
    let store = open(dir.path(), kv.clone(), &options, "boot 1").unwrap();
    let counted = |act: &dyn Fn()| {
        let before = kv.synced.load(Ordering::SeqCst);
        act();
        kv.synced.load(Ordering::SeqCst) - before
    };
    let write_at = |data: u64, offset: u64| {
        write(&store, column(data), fence(9, None), offset, &[1; 4096]).unwrap();
    };
    assert_eq!(counted(&|| (0..100).for_each(|data| write_at(data, 0))), 0, "new columns");
    assert_eq!(counted(&|| assert_eq!(store.sync_all().unwrap(), 100)), 1, "one sync for all");
    assert_eq!(counted(&|| (1..100).for_each(|block| write_at(0, block * 4096))), 0, "appends");
    assert_eq!(counted(&|| (0..100).for_each(|_| write_at(1, 0))), 1, "the mark of a synced range");
    let overwrite_and_sync = || {
        write_at(1, 0);
        store.sync(&[column(1)]).unwrap();
    };
    overwrite_and_sync();
    assert_eq!(counted(&|| (0..100).for_each(|_| overwrite_and_sync())), 0, "a hot range");
    assert_eq!(counted(&|| store.sync(&[column(1), column(999)]).unwrap()), 0, "nothing to sync");
}

#[test]
fn marks_go_when_a_column_rests() {
    let mut target = Target::large();
    let id = column(1);
    target.write(id, 0, &[1; 8192]).unwrap();
    target.store.sync(&[id]).unwrap();
    target.write(id, 0, &[2; 4096]).unwrap();
    let marks = |target: &Target| {
        let range = super::super::record::marks_of(id);
        target.kv.scan(&range, 9).unwrap().len()
    };
    assert_eq!(marks(&target), 1);
    target.store.sync_all().unwrap();
    assert_eq!(marks(&target), 1, "it was written since the sync before");
    target.store.sync_all().unwrap();
    assert_eq!(marks(&target), 0);
    // Damage is told again, also after a restart.
    target.store.close().unwrap();
    let path = target.file(id, 0, false);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    target.restart();
    corrupt(target.read(id, 0, 4096), "block 0 ");
}
