//! Draws, performs, compares.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::draw::draw;
use super::fault::{Fault, Faulty};
use super::model::{Id, Model};
use super::op::{Kind, Op, Outcome, Ranges, Slot};
use super::system::{Kernel, System};
use crate::lock::Take;

/// Steps that the report of a difference shows.
const SHOWN: usize = 25;
/// Steps between two comparisons of everything.
const COMPARE_EVERY: u64 = 5_000;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The same folder, empty, as each mount shows it.
    pub folders: Vec<PathBuf>,
    pub seed: u64,
    pub operations: u64,
    pub fault: Option<Fault>,
}

pub(super) struct Runner {
    random: StdRng,
    pub(super) model: Model,
    system: Box<dyn System>,
    mounts: usize,
    /// Which mount an open file is of.
    opened_on: BTreeMap<Slot, usize>,
    /// The system's number of each inode of the model that was seen, and back.
    inos: BTreeMap<Id, u64>,
    ids: BTreeMap<u64, Id>,
    last: VecDeque<String>,
}

/// Calls `done` after each operation. `Err`: the first difference, and the steps before it.
pub fn run(plan: &Plan, done: impl Fn()) -> Result<(), String> {
    // Modes are what the operations ask for.
    rustix::process::umask(rustix::fs::Mode::empty());
    for folder in &plan.folders {
        let entries = fs::read_dir(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
        if entries.count() > 0 {
            return Err(format!("{} is not empty", folder.display()));
        }
    }
    let mut runner = Runner::new(plan.folders.clone(), plan.seed, plan.fault);
    for number in 1..=plan.operations {
        let op = draw(&mut runner.random, &runner.model);
        runner.step(number, op)?;
        done();
        if number % COMPARE_EVERY == 0 || number == plan.operations {
            runner.compare_all(number)?;
        }
    }
    Ok(())
}

impl Runner {
    pub(super) fn new(folders: Vec<PathBuf>, seed: u64, fault: Option<Fault>) -> Self {
        let mounts = folders.len();
        let kernel = Kernel::new(folders);
        let system: Box<dyn System> = match fault {
            None => Box::new(kernel),
            Some(fault) => Box::new(Faulty::new(kernel, fault, seed)),
        };
        Runner {
            random: StdRng::seed_from_u64(seed),
            model: Model::new(),
            system,
            mounts,
            opened_on: BTreeMap::new(),
            inos: BTreeMap::new(),
            ids: BTreeMap::new(),
            last: VecDeque::new(),
        }
    }

    fn step(&mut self, number: u64, mut op: Op) -> Result<(), String> {
        let mount = self.random.random_range(0..self.mounts);
        match &mut op {
            // Into a place that is taken: the file there is closed first.
            Op::Open { slot, .. } if self.opened_on.contains_key(slot) => {
                return self.close(number, *slot).and_then(|()| self.perform(number, mount, op));
            }
            Op::Close { slot } => return self.close(number, *slot),
            // A kernel cannot see that a range of one file is copied into itself if it is open on two mounts.
            Op::Ranges { slot, act: Ranges::CopyFrom { from, .. } }
                if self.opened_on[from] != self.opened_on[slot]
                    && self.model.is_same(*from, *slot) =>
            {
                *from = *slot;
            }
            _ => {}
        }
        let mount = match slot_of(&op) {
            Some(slot) => self.opened_on.get(&slot).copied().unwrap_or(mount),
            None => mount,
        };
        self.perform(number, mount, op)
    }

    /// Its locks are given back first: FUSE closes a file behind the back of its last user.
    fn close(&mut self, number: u64, slot: Slot) -> Result<(), String> {
        let mount = self.opened_on[&slot];
        if self.model.has_locks(slot) {
            let act = Ranges::Lock { take: Take::Unlock, start: 0, len: 0 };
            self.perform(number, mount, Op::Ranges { slot, act })?;
        }
        self.perform(number, mount, Op::Close { slot })
    }

    pub(super) fn perform(&mut self, number: u64, mount: usize, op: Op) -> Result<(), String> {
        let told = self.model.perform(&op);
        let seen = self.system.perform(mount, &op);
        self.note(format!("{number} on mount {mount}: {op:?} -> {}", short(&told)));
        if !told.admits(&seen) {
            return Err(self.report(&told, &seen));
        }
        match (&op, &told) {
            (Op::Open { slot, .. }, Outcome::Done) => drop(self.opened_on.insert(*slot, mount)),
            (Op::Close { slot }, Outcome::Done) => drop(self.opened_on.remove(slot)),
            _ => {}
        }
        self.compare_ino(&told, &seen)
    }

    /// Somebody else has performed it.
    pub(super) fn by_another(&mut self, number: u64, op: &Op) {
        let told = self.model.perform(op);
        self.note(format!("{number} by another: {op:?} -> {}", short(&told)));
    }

    fn note(&mut self, step: String) {
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(step);
    }

    /// One inode has one number, and no two that live have the same.
    fn compare_ino(&mut self, told: &Outcome, seen: &Outcome) -> Result<(), String> {
        let (Outcome::Stat(model), Outcome::Stat(system)) = (told, seen) else { return Ok(()) };
        let (id, ino) = (model.ino, system.ino);
        let known = self.inos.insert(id, ino);
        let other = self.ids.insert(ino, id).filter(|other| *other != id);
        if known.is_some_and(|known| known != ino)
            || other.is_some_and(|other| self.model.is_alive(other))
        {
            return Err(self.report(told, seen));
        }
        Ok(())
    }

    /// Every name and every byte, through a mount that is drawn for each.
    fn compare_all(&mut self, number: u64) -> Result<(), String> {
        for (path, kind) in self.model.paths() {
            let mount = self.random.random_range(0..self.mounts);
            self.perform(number, mount, Op::Stat { path: path.clone(), follow: false })?;
            match kind {
                Kind::Directory => self.perform(number, mount, Op::List { path })?,
                Kind::Symlink => self.perform(number, mount, Op::Readlink { path })?,
                Kind::File => self.compare_file(number, mount, path)?,
            }
        }
        Ok(())
    }

    fn compare_file(&mut self, number: u64, mount: usize, path: String) -> Result<(), String> {
        // None of those that are drawn.
        let slot = usize::MAX;
        let flags = super::op::Flags { read: true, ..Default::default() };
        self.perform(number, mount, Op::Open { slot, path, flags, mode: 0 })?;
        let len = usize::try_from(self.model.size_of(slot)).expect("small") + 1;
        self.perform(number, mount, Op::Read { slot, offset: 0, len })?;
        self.perform(number, mount, Op::Close { slot })
    }

    fn report(&self, told: &Outcome, seen: &Outcome) -> String {
        let mut report = String::new();
        for step in &self.last {
            let _ = writeln!(report, "{step}");
        }
        let _ =
            writeln!(report, "the model says  {}\nthe system says {}", short(told), short(seen));
        if let (Outcome::Bytes(told), Outcome::Bytes(seen)) = (told, seen) {
            let first = told.iter().zip(seen).position(|(told, seen)| told != seen);
            let _ = writeln!(
                report,
                "{} and {} bytes, first difference: {first:?}",
                told.len(),
                seen.len()
            );
        }
        report
    }
}

fn slot_of(op: &Op) -> Option<Slot> {
    match op {
        Op::Close { slot }
        | Op::Read { slot, .. }
        | Op::Write { slot, .. }
        | Op::Resize { slot, .. }
        | Op::Ranges { slot, .. }
        | Op::Sync { slot, .. }
        | Op::StatOpen { slot } => Some(*slot),
        _ => None,
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Bytes(bytes) => {
            format!("{} bytes, checksum {:08x}", bytes.len(), crc(bytes))
        }
        Outcome::Failed(errno) => format!("{}", std::io::Error::from_raw_os_error(*errno)),
        outcome => format!("{outcome:?}"),
    }
}

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::FAULTS;
    use super::*;

    fn plan(folder: &std::path::Path, seed: u64, fault: Option<Fault>) -> Plan {
        Plan { folders: vec![folder.to_owned(); 2], seed, operations: 20_000, fault }
    }

    /// What the model holds for right is what the kernel does with a local file system.
    #[test]
    fn a_local_file_system_is_as_the_model() {
        for seed in 1..4 {
            let folder = tempfile::tempdir_in("/var/tmp").unwrap();
            if let Err(difference) = run(&plan(folder.path(), seed, None), || {}) {
                panic!("seed {seed}:\n{difference}");
            }
        }
    }

    #[test]
    fn every_fault_is_found() {
        for fault in FAULTS {
            let folder = tempfile::tempdir_in("/var/tmp").unwrap();
            assert!(
                run(&plan(folder.path(), 1, Some(fault)), || {}).is_err(),
                "{fault:?} is not found"
            );
        }
    }
}
