//! Processes on several mounts that take turns on one file, under a lock: each finds what the others did, to the byte.
//!
//! What is done in a turn depends on the seed and on the turns before alone, so that each process knows it from their
//! number.

use std::fs::File;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::draw::on_open_file;
use super::fault::Fault;
use super::model::Model;
use super::op::{Flags, Op, Slot};
use super::runner::Runner;
use crate::campaign::counters::{number_of, set_number};
use crate::lock::{Kind, Take};

const SLOT: Slot = 0;

/// What one of the processes does.
#[derive(Clone, Debug)]
pub struct Turns {
    /// The same on all mounts, with `turns` in it, where their number is.
    pub folder: PathBuf,
    pub seed: u64,
    /// Of all processes together.
    pub count: u64,
    pub kind: Kind,
    pub fault: Option<Fault>,
}

/// Calls `done` after each turn. Returns its turns; `Err`: the first difference, and the steps before it.
pub fn take_turns(plan: &Turns, done: impl Fn()) -> Result<u64, String> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let turns = plan.folder.join("turns");
    let turns = File::options().read(true).write(true).open(&turns);
    let turns = turns.map_err(|err| format!("open: {err}"))?;
    let mut runner = Runner::new(vec![plan.folder.clone()], plan.seed, plan.fault);
    let flags = Flags { read: true, write: true, create: true, ..Flags::default() };
    let open = Op::Open { slot: SLOT, path: "data".into(), flags, mode: 0o644 };
    runner.perform(0, 0, open)?;
    let (mut known, mut own) = (0, 0);
    loop {
        let lock = |take| plan.kind.set(&turns, take, (0, 0), true);
        lock(Take::Exclusive).map_err(|err| format!("turn {known}: lock: {err}"))?;
        let number = number_of(&turns).map_err(|err| format!("turn {known}: {err}"))?;
        while known < number {
            let op = turn(plan.seed, known, &runner.model);
            runner.by_another(known, &op);
            known += 1;
        }
        let len = usize::try_from(runner.model.size_of(SLOT)).expect("small") + 1;
        runner.perform(known, 0, Op::Read { slot: SLOT, offset: 0, len })?;
        runner.perform(known, 0, Op::StatOpen { slot: SLOT })?;
        if known < plan.count {
            let op = turn(plan.seed, known, &runner.model);
            runner.perform(known, 0, op)?;
            known += 1;
            own += 1;
            set_number(&turns, known).map_err(|err| format!("turn {known}: {err}"))?;
        }
        lock(Take::Unlock).map_err(|err| format!("turn {known}: unlock: {err}"))?;
        done();
        if known == plan.count {
            return Ok(own);
        }
    }
}

/// Something about the bytes of the file, which stays open and is not locked itself.
fn turn(seed: u64, number: u64, model: &Model) -> Op {
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(number << 32));
    loop {
        let op = on_open_file(&mut random, model, SLOT);
        match &op {
            Op::Close { .. } => {}
            Op::Ranges { act, .. } if act.is_lock() => {}
            _ => return op,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::counters::zero;

    fn turns(seed: u64, kind: Kind, fault: Option<Fault>) -> Result<u64, String> {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        zero(&folder.path().join("turns")).unwrap();
        let plan = Turns { folder: folder.path().to_owned(), seed, count: 3_000, kind, fault };
        std::thread::scope(|scope| {
            let both = [0, 1].map(|_| scope.spawn(|| take_turns(&plan, || {})));
            both.into_iter().map(|it| it.join().unwrap()).sum()
        })
    }

    #[test]
    fn turns_on_a_local_file_are_as_the_model() {
        // Those of fcntl are the whole process's.
        for kind in [Kind::Ofd, Kind::Flock] {
            for seed in 1..3 {
                let done = turns(seed, kind, None);
                assert_eq!(done.unwrap_or_else(|err| panic!("seed {seed}:\n{err}")), 3_000);
            }
        }
    }

    #[test]
    fn faults_are_found_in_turns() {
        let faults = [
            Fault::LostLastByte,
            Fault::StaleSize,
            Fault::CutIgnored,
            Fault::HoleWithGarbage,
            Fault::PunchIgnored,
            Fault::CopyCutShort,
        ];
        // Which turns a fault strikes depends on who gets them: one run in three strikes nothing that shows.
        for fault in faults {
            let is_found = (1..=20).any(|seed| turns(seed, Kind::Ofd, Some(fault)).is_err());
            assert!(is_found, "{fault:?} is not found");
        }
    }
}
