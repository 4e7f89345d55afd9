//! Three mounts beside a model in memory: operations, turns on one file, locks. See `exerciser`.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use super::counted::Counted;
use super::counters;
use super::disturbance::Disturbance;
use crate::exerciser::{LockPlan, exercise_locks};
use crate::lock::Kind;
use crate::{Cluster, Mount, program};

/// Random operations on three mounts beside a model in memory. Panics at the first difference.
pub fn exerciser(operations: u64, seed: u64, disturbance: Disturbance) {
    let (mut cluster, mounts) = narrow_stripes();
    let mut command = Command::new(program("xtfs-exerciser"));
    command.args([seed.to_string(), operations.to_string()]);
    command.args(mounts.iter().map(|mount| mount.join("folder")));
    let running = Counted::start(command, &Arc::default());
    println!("{}", disturbance.during(&mut cluster, seed, || running.end()));
    end(cluster, mounts);
}

/// Turns on one file under locks of each kind, on three mounts. Panics at the first difference.
pub fn turns(count: u64, seed: u64, disturbance: Disturbance) {
    let (mut cluster, mounts) = narrow_stripes();
    for kind in Kind::ALL {
        let name = format!("folder/{}", kind.name());
        fs::create_dir(mounts[0].join(&name)).expect("make a folder");
        counters::zero(&mounts[0].join(&name).join("turns")).expect("write");
        let running = mounts.each_ref().map(|mount| {
            let mut command = Command::new(program("xtfs-exerciser"));
            command.args(["turns", kind.name(), &seed.to_string(), &count.to_string()]);
            command.arg(mount.join(&name));
            Counted::start(command, &Arc::default())
        });
        let ended = disturbance.during(&mut cluster, seed, || running.map(Counted::end));
        println!("{kind:?}: {ended:?}");
    }
    end(cluster, mounts);
}

/// Random locks of processes on three mounts beside a model. Panics at the first difference.
pub fn locks(operations: u64, seed: u64, disturbance: Disturbance) {
    let (mut cluster, mounts) = narrow_stripes();
    let folders = mounts.iter().map(|mount| mount.join("folder")).collect();
    let plan = LockPlan { folders, processes_per_folder: 2, seed, operations, fault: None };
    disturbance
        .during(&mut cluster, seed, || exercise_locks(&plan))
        .unwrap_or_else(|difference| panic!("seed {seed}:\n{difference}"));
    println!("seed {seed}: {operations} operations, no difference");
    end(cluster, mounts);
}

/// Three mounts of a volume striped 4 KiB × 3, with an empty folder.
fn narrow_stripes() -> (Cluster, [Mount; 3]) {
    let cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let mounts = [0, 1, 2].map(|_| cluster.mount("v"));
    fs::create_dir(mounts[0].join("folder")).expect("make a folder");
    (cluster, mounts)
}

fn end(cluster: Cluster, mounts: [Mount; 3]) {
    for mount in mounts {
        mount.unmount();
    }
    cluster.assert_clean("v");
}
