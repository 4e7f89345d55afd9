//! Processes on several mounts that take, test and wait for locks of ranges, beside a model: fcntl, those of open file
//! descriptions, flock, each on a file of its own.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};

use super::draw::locked;
use super::locked::{EVERYTHING, Locked, range};
use crate::lock::{Kind, Take};
use crate::locker::Locker;

const SHOWN: usize = 25;

/// What a run does.
#[derive(Clone, Debug)]
pub struct LockPlan {
    /// The same folder, as each mount shows it.
    pub folders: Vec<PathBuf>,
    pub processes_per_folder: usize,
    pub seed: u64,
    pub operations: u64,
    pub fault: Option<LockFault>,
}

/// What the runner must find if it is done wrong, seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFault {
    NotTaken,
    NotGivenBack,
    TooMuch,
}

struct Runner {
    random: StdRng,
    processes: Vec<Process>,
    /// Of the file of each kind.
    locked: [Locked<usize>; 3],
    waiting: Option<Wait>,
    fault: Option<LockFault>,
    last: VecDeque<String>,
}

struct Process {
    folder: PathBuf,
    locker: Locker,
}

/// One waits at a time, so that nobody waits for each other.
struct Wait {
    process: usize,
    kind: usize,
    range: Range<u64>,
}

/// `Err`: the first difference, and the steps before it.
pub fn exercise_locks(plan: &LockPlan) -> Result<(), String> {
    for kind in Kind::ALL {
        fs::write(plan.folders[0].join(kind.name()), b"0").map_err(|err| err.to_string())?;
    }
    let folders = plan.folders.iter().cycle();
    let processes = folders.take(plan.folders.len() * plan.processes_per_folder);
    let mut runner = Runner {
        random: StdRng::seed_from_u64(plan.seed),
        processes: processes.map(|folder| Process::start(folder)).collect(),
        locked: Default::default(),
        waiting: None,
        fault: plan.fault,
        last: VecDeque::new(),
    };
    for number in 0..plan.operations {
        runner.step(number)?;
    }
    Ok(())
}

impl Process {
    fn start(folder: &Path) -> Self {
        let locker = Locker::start(&folder.join(Kind::ALL[0].name()));
        Process { folder: folder.to_owned(), locker }
    }
}

impl Runner {
    fn step(&mut self, number: u64) -> Result<(), String> {
        let process = self.random.random_range(0..self.processes.len());
        if self.waiting.as_ref().is_some_and(|wait| wait.process == process) {
            // It can do nothing but go.
            return if self.random.random_bool(0.3) { self.kill(number, process) } else { Ok(()) };
        }
        let kind = self.random.random_range(0..Kind::ALL.len());
        match self.random.random_range(0..100) {
            0..=2 => self.kill(number, process),
            3..=7 => {
                if Kind::ALL[kind] == Kind::Fcntl {
                    // Any close of the file by the process gives its locks back.
                    self.locked[kind].drop_all_of(process);
                }
                self.ask(number, process, kind, "reopen", "ok")
            }
            8..=30 if Kind::ALL[kind] != Kind::Flock => self.test(number, process, kind),
            _ => self.take(number, process, kind),
        }
    }

    fn take(&mut self, number: u64, process: usize, kind: usize) -> Result<(), String> {
        let takes = [Take::Shared, Take::Exclusive, Take::Unlock];
        let take = *takes.choose(&mut self.random).expect("not empty");
        let (start, len) = match Kind::ALL[kind] {
            Kind::Flock => (0, 0),
            _ => locked(&mut self.random),
        };
        // Whether one that cannot be converted is lost is left open.
        if Kind::ALL[kind] == Kind::Flock && take != Take::Unlock {
            self.unlock_all(number, process, kind)?;
        }
        let (name, range) = (Kind::ALL[kind].name(), range(start, len));
        let exclusive = take == Take::Exclusive;
        let free = self.locked[kind].conflicts(process, &range, exclusive).is_empty();
        if !free && exclusive && self.waiting.is_none() && self.random.random_bool(0.3) {
            let order = format!("{name} wait exclusive {start} {len}");
            self.order(number, process, kind, &order)?;
            self.waiting = Some(Wait { process, kind, range });
            return Ok(());
        }
        let done = self.locked[kind].set(process, range, take);
        let expected = if done { "ok".to_owned() } else { format!("errno {}", libc::EAGAIN) };
        let (take, len) =
            if self.random.random_bool(0.03) { self.bend(take, len) } else { (take, len) };
        let order = format!("{name} try {} {start} {len}", word(take));
        self.ask(number, process, kind, &order, &expected)
    }

    /// What is asked of the system instead.
    fn bend(&self, take: Take, len: u64) -> (Take, u64) {
        match (self.fault, take) {
            (Some(LockFault::NotTaken), Take::Shared | Take::Exclusive) => (Take::Unlock, len),
            (Some(LockFault::NotGivenBack), Take::Unlock) => (Take::Shared, len),
            (Some(LockFault::TooMuch), _) => (take, 0),
            _ => (take, len),
        }
    }

    fn unlock_all(&mut self, number: u64, process: usize, kind: usize) -> Result<(), String> {
        self.locked[kind].drop_all_of(process);
        let order = format!("{} try unlock 0 0", Kind::ALL[kind].name());
        self.ask(number, process, kind, &order, "ok")
    }

    fn test(&mut self, number: u64, process: usize, kind: usize) -> Result<(), String> {
        let (start, len) = locked(&mut self.random);
        let known = self.locked[kind].conflicts(process, &range(start, len), true);
        let order = format!("{} test {start} {len}", Kind::ALL[kind].name());
        self.order(number, process, kind, &order)?;
        let answer = self.processes[process].locker.answer();
        let shown = |range: &Range<u64>| {
            let len = if range.end == EVERYTHING { 0 } else { range.end - range.start };
            format!("held {} {len} ", range.start)
        };
        let admitted = match known.as_slice() {
            [] => answer == "free",
            known => known.iter().any(|range| answer.starts_with(&shown(range))),
        };
        if admitted { Ok(()) } else { Err(self.report(&format!("{known:?}"), &answer)) }
    }

    /// A new one takes its place. What is not fcntl's is given back behind the back of the last user, so it is before.
    fn kill(&mut self, number: u64, process: usize) -> Result<(), String> {
        let waits = self.waiting.as_ref().is_some_and(|wait| wait.process == process);
        for (kind, name) in Kind::ALL.into_iter().enumerate() {
            if name == Kind::Fcntl || !self.locked[kind].has(process) {
                continue;
            }
            if waits {
                // It takes no orders.
                return Ok(());
            }
            self.unlock_all(number, process, kind)?;
        }
        self.note(number, process, "kill -9");
        self.waiting.take_if(|wait| wait.process == process);
        self.locked.iter_mut().for_each(|locked| locked.drop_all_of(process));
        let new = Process::start(&self.processes[process].folder);
        std::mem::replace(&mut self.processes[process], new).locker.kill9();
        self.wake()
    }

    fn ask(
        &mut self,
        number: u64,
        process: usize,
        kind: usize,
        order: &str,
        expected: &str,
    ) -> Result<(), String> {
        self.order(number, process, kind, order)?;
        let answer = self.processes[process].locker.answer();
        if answer != expected {
            return Err(self.report(expected, &answer));
        }
        self.wake()
    }

    /// Tells it to, and does not wait for the answer.
    fn order(
        &mut self,
        number: u64,
        process: usize,
        kind: usize,
        order: &str,
    ) -> Result<(), String> {
        let it = &mut self.processes[process];
        let file = it.folder.join(Kind::ALL[kind].name());
        let used = it.locker.ask(&format!("use {}", file.display()));
        it.locker.order(order);
        self.note(number, process, &format!("on {}: {order}", Kind::ALL[kind].name()));
        if used == "ok" { Ok(()) } else { Err(self.report("ok", &used)) }
    }

    /// Who waits is served as soon as nothing is in the way.
    fn wake(&mut self) -> Result<(), String> {
        let free = |wait: &mut Wait| {
            self.locked[wait.kind].conflicts(wait.process, &wait.range, true).is_empty()
        };
        let Some(Wait { process, kind, range }) = self.waiting.take_if(free) else { return Ok(()) };
        let answer = self.processes[process].locker.answer();
        if answer != "ok" {
            return Err(self.report("the one that waits has it", &answer));
        }
        self.locked[kind].set(process, range, Take::Exclusive);
        Ok(())
    }

    fn note(&mut self, number: u64, process: usize, what: &str) {
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(format!("{number}: process {process} {what}"));
    }

    fn report(&self, told: &str, seen: &str) -> String {
        let last = self.last.iter().map(|step| format!("{step}\n")).collect::<String>();
        format!("{last}the model says  {told}\nthe system says {seen}")
    }
}

fn word(take: Take) -> &'static str {
    match take {
        Take::Shared => "shared",
        Take::Exclusive => "exclusive",
        Take::Unlock => "unlock",
    }
}
