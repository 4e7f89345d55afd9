//! kill -9 of one service at random instants under load, each followed by a restart: nothing that was acknowledged is
//! lost, no operation fails, `fsck` is clean.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::workload::Running;
use crate::{Cluster, Daemon, eventually};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Dir,
    Mrc,
    Osd,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub victim: Victim,
    pub kills: u32,
    pub seed: u64,
}

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub kills: u32,
    pub operations: u64,
    pub files_checked: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { kills, operations, files_checked } = self;
        write!(
            f,
            "{kills} kills, {operations} operations acknowledged, {files_checked} files checked"
        )
    }
}

/// Panics with the seed at the first loss.
pub fn run(plan: Plan) -> Figures {
    eprintln!("{plan:?}");
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut cluster = Cluster::start(2);
    cluster.mkfs("v", &["-w", "2", "-s", "64k"]);
    let mount = cluster.mount("v");
    let operations = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (1..=3)
        .map(|number| {
            let folder = mount.join(format!("worker{number}"));
            Running::start(folder, plan.seed + number * 1_000_000, &operations)
        })
        .collect();
    for _ in 0..plan.kills {
        // Under way again after the last kill, and then a random while.
        let target = operations.load(Ordering::Relaxed) + random.random_range(1..60);
        eventually("the workload goes on", || {
            operations.load(Ordering::Relaxed) >= target || workers.iter().any(Running::has_ended)
        });
        let daemon = victim(&mut cluster, plan.victim, &mut random);
        daemon.kill9();
        daemon.restart();
    }
    let files_checked = workers.into_iter().map(Running::stop_and_check).sum();
    mount.unmount();
    cluster.assert_clean("v");
    Figures { kills: plan.kills, operations: operations.load(Ordering::Relaxed), files_checked }
}

fn victim<'a>(cluster: &'a mut Cluster, victim: Victim, random: &mut StdRng) -> &'a mut Daemon {
    match victim {
        Victim::Dir => &mut cluster.dir,
        Victim::Mrc => &mut cluster.mrc,
        Victim::Osd => {
            let index = random.random_range(0..cluster.osds.len());
            &mut cluster.osds[index]
        }
    }
}
