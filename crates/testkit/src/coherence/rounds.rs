//! Round after round: looks, a change on one mount, the same looks again.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;

use super::act::Act;
use super::draw::{act, looks, one, shuffled};
use super::look::{Look, Way};
use super::onlookers::Onlookers;
use super::view::{PATHS, View};

/// Changes that the report of a difference shows.
const SHOWN: usize = 25;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The same folder, empty, as each mount shows it.
    pub folders: Vec<PathBuf>,
    /// A local one, empty, too, of a file system that has access control lists.
    pub beside: PathBuf,
    pub seed: u64,
    pub rounds: u64,
    /// What is seen in this way before a change is told after it, too, now and then: a fault that must be found.
    pub stale: Option<Way>,
}

struct Rounds {
    random: StdRng,
    local: View,
    mounts: Vec<View>,
    stale: Option<Way>,
    last: VecDeque<String>,
}

/// Looks of one moment, by mount.
type Seen = BTreeMap<(usize, Look), String>;

/// Calls `done` after each round. `Err`: what was stale, and the changes before it.
pub fn run(plan: &Plan, done: impl Fn()) -> Result<(), String> {
    run_on(plan, View::mounted, done)
}

fn run_on(plan: &Plan, view: impl Fn(&Path) -> View, done: impl Fn()) -> Result<(), String> {
    // Modes are what the changes ask for.
    rustix::process::umask(rustix::fs::Mode::empty());
    for folder in plan.folders.iter().chain([&plan.beside]) {
        let entries = fs::read_dir(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
        if entries.count() > 0 {
            return Err(format!("{} is not empty", folder.display()));
        }
    }
    let mut rounds = Rounds {
        random: StdRng::seed_from_u64(plan.seed),
        local: View::local(&plan.beside),
        mounts: plan.folders.iter().map(|folder| view(folder)).collect(),
        stale: plan.stale,
        last: VecDeque::new(),
    };
    for number in 1..=plan.rounds {
        rounds.round(number).map_err(|what| {
            let last: Vec<_> = rounds.last.iter().map(String::as_str).collect();
            format!("seed {}, round {number}: {what}\n{}", plan.seed, last.join("\n"))
        })?;
        done();
    }
    Ok(())
}

impl Rounds {
    fn round(&mut self, number: u64) -> Result<(), String> {
        let actor = self.random.random_range(0..self.mounts.len());
        let act = act(&mut self.random, &self.local);
        let looks = looks(&mut self.random, &act, &self.local);
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(format!("{number}: on mount {actor}: {act:?}"));

        let all: Vec<_> = (0..self.mounts.len()).collect();
        let mut before = Seen::new();
        for _ in 0..one(&mut self.random, &[0, 1, 2, 2, 2]) {
            let order = shuffled(&mut self.random, all.clone());
            before = self.look(&order, &looks, None).map_err(|what| format!("before: {what}"))?;
        }
        let others: Vec<_> = all.into_iter().filter(|mount| *mount != actor).collect();
        let mut onlookers = Vec::new();
        if self.random.random_ratio(1, 3) {
            onlookers = others.iter().map(|mount| self.mounts[*mount].again()).collect();
        }
        let stop = AtomicBool::new(false);
        let (acted, after) = std::thread::scope(|scope| {
            let at = shuffled(&mut self.random, looks.clone());
            let _onlookers = Onlookers::start(scope, &stop, onlookers, &at);
            let acted = self.perform(&act, actor)?;
            // Whoever changed it looks last: its request may have others forget.
            let mut order = shuffled(&mut self.random, others);
            order.push(actor);
            let after = self.look(&order, &looks, Some(&before))?;
            Ok::<_, String>((acted, after))
        })?;
        match act.dates() {
            Some(path) if acted.is_ok() && self.mounts[actor].times_are_fine() => {
                dated(path, &before, &after)
            }
            _ => Ok(()),
        }
    }

    /// On one mount, or on all, and beside them: with the same result.
    fn perform(&mut self, act: &Act, actor: usize) -> Result<Result<(), Errno>, String> {
        let expected = act.perform(&mut self.local);
        let all = self.mounts.iter_mut().enumerate();
        for (mount, view) in all.filter(|(mount, _)| *mount == actor || act.is_of_all()) {
            let done = act.perform(view);
            if done != expected {
                return Err(format!("mount {mount} did it: {done:?}, expected {expected:?}"));
            }
        }
        Ok(expected)
    }

    /// On one mount after the other, each in an order of its own.
    fn look(
        &mut self,
        order: &[usize],
        looks: &[Look],
        past: Option<&Seen>,
    ) -> Result<Seen, String> {
        let mut seen = Seen::new();
        let mut of_the_mounts: BTreeMap<Look, String> = BTreeMap::new();
        for mount in order {
            for look in shuffled(&mut self.random, looks.to_vec()) {
                let key = (*mount, look);
                let mut now = look.see(&mut self.mounts[*mount]);
                let faulty = self.stale == Some(look.way) && mount != order.last().unwrap_or(mount);
                if let (true, Some(old)) = (faulty, past.and_then(|past| past.get(&key))) {
                    now.clone_from(old);
                }
                let expected = if look.way.is_of_the_mounts() {
                    of_the_mounts.entry(look).or_insert_with(|| now.clone()).clone()
                } else {
                    look.see(&mut self.local)
                };
                if now != expected && !self.may_be_gone(look, &now) {
                    let was = past.and_then(|past| past.get(&key));
                    return Err(format!(
                        "{look:?} on mount {mount}\n  sees {now}\n  expected {expected}\n  it was {was:?}"
                    ));
                }
                seen.insert(key, now);
            }
        }
        Ok(seen)
    }

    /// Nothing is kept of a directory that was removed, whoever has it open.
    fn may_be_gone(&self, look: Look, seen: &str) -> bool {
        let held = Way::HELD.contains(&look.way);
        held && self.local.holds_removed_folder(look.at) && seen.contains(&gone())
    }
}

fn gone() -> String {
    format!("{:?}", Errno::STALE)
}

/// All mounts agree on the times; they are not those from before.
fn dated(path: &str, before: &Seen, after: &Seen) -> Result<(), String> {
    let stale = after.iter().find(|((_, look), now)| {
        let same = || before.iter().any(|((_, other), was)| other == look && was == *now);
        look.way == Way::Times && PATHS[look.at] == path && same()
    });
    match stale {
        Some(((mount, look), now)) => Err(format!("{look:?} on mount {mount} did not move: {now}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice the same local folder, as if two mounts showed it.
    fn locally(seed: u64, stale: Option<Way>) -> Result<(), String> {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let [shown, beside] = ["shown", "beside"].map(|name| folder.path().join(name));
        fs::create_dir(&shown).unwrap();
        fs::create_dir(&beside).unwrap();
        let folders = vec![shown.clone(), shown];
        run_on(&Plan { folders, beside, seed, rounds: 1_000, stale }, View::local, || {})
    }

    #[test]
    fn a_local_folder_is_never_stale() {
        for seed in 1..4 {
            locally(seed, None).unwrap();
        }
    }

    #[test]
    fn whatever_is_stale_is_found() {
        for way in Way::AT.into_iter().chain(Way::HELD) {
            let found = locally(1, Some(way)).expect_err(&format!("{way:?} may be stale"));
            assert!(found.contains(&format!(": {way:?} of ")), "{way:?}: {found}");
        }
    }
}
