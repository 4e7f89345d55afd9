//! Several mounts of one volume: nothing stale is seen on any, and no two of them stop each other. See `coherence`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counted::Counted;
use super::disturbance::Disturbance;
use super::local::Ext4;
use crate::{Cluster, Mount, eventually, eventually_within, program};

/// A crowd that gets nothing done for so long has stopped.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub mounts: usize,
    pub rounds: u64,
    pub seed: u64,
    pub disturbance: Disturbance,
}

/// Changes on one mount, looks from the others. Panics with the seed at the first thing that is stale.
pub fn rounds(plan: Rounds) {
    eprintln!("{plan:?}");
    let (mut cluster, mounts) = world(plan.mounts);
    let ext4 = Ext4::new();
    let beside = ext4.path().join("beside");
    fs::create_dir(&beside).expect("make a folder");
    let mut command = Command::new(program("xtfs-coherence"));
    command.args(["rounds", &plan.seed.to_string(), &plan.rounds.to_string()]).arg(beside);
    command.args(mounts.iter().map(|mount| mount.join("folder")));
    let running = Counted::start(command, &Arc::default());
    println!("{}", plan.disturbance.during(&mut cluster, plan.seed, || running.end()));
    end(cluster, mounts);
}

/// Clients in one directory. It ends when all of them together have done so many operations for each, and the time is
/// over.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub clients: usize,
    pub operations_each: u64,
    pub time: Duration,
    pub seed: u64,
    pub disturbance: Disturbance,
}

#[derive(Clone, Debug)]
pub struct Figures {
    operations: Vec<u64>,
    took: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.operations.iter().sum();
        let rate = u128::from(all) * 1000 / self.took.as_millis().max(1);
        let (clients, took) = (self.operations.len(), self.took.as_secs_f64());
        write!(f, "{clients} clients: {rate} operations/s over {took:.1} s, {:?}", self.operations)
    }
}

/// Panics if an operation fails or does not end, if a client is left behind, or if they do not see the same in the end.
pub fn crowd(plan: Crowd) -> Figures {
    eprintln!("{plan:?}");
    let (mut cluster, mounts) = world(plan.clients);
    let counts: Vec<Arc<AtomicU64>> = mounts.iter().map(|_| Arc::default()).collect();
    let start = Instant::now();
    let members = mounts.iter().zip(&counts).zip(plan.seed..);
    let members: Vec<_> = members
        .map(|((mount, count), seed)| {
            let mut command = Command::new(program("xtfs-coherence"));
            command.args(["crowd", &seed.to_string()]).arg(mount.join("folder"));
            Counted::start(command, count)
        })
        .collect();
    let work = || {
        wait(&plan, &counts, &members, start);
        let operations = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let took = start.elapsed();
        members.into_iter().for_each(|member| drop(member.end()));
        Figures { operations, took }
    };
    let figures = plan.disturbance.during(&mut cluster, plan.seed, work);
    figures.assert_fair(plan.seed);
    assert_the_same(&mounts, plan.seed);
    end(cluster, mounts);
    figures
}

/// Returns when they have done enough, or one of them has failed.
fn wait(plan: &Crowd, counts: &[Arc<AtomicU64>], members: &[Counted], start: Instant) {
    let wanted = plan.operations_each * counts.len() as u64;
    let total = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    loop {
        let before = total();
        let over = |now| now >= wanted && start.elapsed() >= plan.time;
        let failed = || members.iter().any(Counted::has_ended);
        let mut now = before;
        eventually_within(
            PATIENCE,
            &format!("the crowd of {plan:?} goes on after {before}"),
            || {
                now = total();
                now > before || failed()
            },
        );
        if over(now) || failed() {
            return;
        }
    }
}

impl Figures {
    #[track_caller]
    fn assert_fair(&self, seed: u64) {
        let mean = self.operations.iter().sum::<u64>() / self.operations.len() as u64;
        let least = self.operations.iter().min().copied().unwrap_or(0);
        assert!(least >= mean / 10, "seed {seed}: one was left behind: {self}");
    }
}

/// What is there, and that nothing waits for an answer.
#[track_caller]
fn assert_the_same(mounts: &[Mount], seed: u64) {
    let seen: Vec<BTreeMap<_, _>> = mounts
        .iter()
        .map(|mount| {
            let entries = fs::read_dir(mount.join("folder")).expect("list");
            let of = |entry: fs::DirEntry| {
                let of = fs::symlink_metadata(entry.path()).expect("what is listed is there");
                (entry.file_name(), (of.ino(), of.mode(), of.nlink(), of.size()))
            };
            entries.map(|entry| of(entry.expect("list"))).collect()
        })
        .collect();
    for other in &seen[1..] {
        assert_eq!(&seen[0], other, "seed {seed}");
    }
    for mount in mounts {
        let waiting = mount.waiting();
        eventually(&format!("seed {seed}: nobody waits for an answer"), || {
            fs::read_to_string(&waiting).is_ok_and(|count| count.trim() == "0")
        });
    }
}

/// A volume striped 4 KiB × 2, with an empty folder.
fn world(mounts: usize) -> (Cluster, Vec<Mount>) {
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
    let mounts: Vec<_> = (0..mounts).map(|_| cluster.mount("v")).collect();
    fs::create_dir(mounts[0].join("folder")).expect("make a folder");
    (cluster, mounts)
}

#[track_caller]
fn end(cluster: Cluster, mounts: Vec<Mount>) {
    mounts.into_iter().for_each(Mount::unmount);
    cluster.assert_clean("v");
}
