//! Processes on two mounts that add one to a number in a file, under locks of each kind: none is lost.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use crate::lock::{Kind, Take};
use crate::{Cluster, eventually, program};

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each kind of lock, all processes together.
    pub increments: u32,
    pub processes_per_mount: u32,
    /// The MRC is killed and started again in the middle of each kind.
    pub kill_mrc: bool,
}

/// Panics if an increment was lost.
pub fn run(plan: Plan) {
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mounts = [cluster.mount("v"), cluster.mount("v")];
    for kind in Kind::ALL {
        let file = format!("counter-{}", kind.name());
        fs::write(mounts[0].join(&file), format!("{:020}", 0)).expect("a file on the mount");
        let each = plan.increments / (2 * plan.processes_per_mount);
        let mut workers: Vec<Child> = (0..plan.processes_per_mount)
            .flat_map(|_| &mounts)
            .map(|mount| start(&mount.join(&file), kind, each))
            .collect();
        if plan.kill_mrc {
            let half = u64::from(plan.increments / 2);
            eventually("half is done", || number_in(&mounts[0].join(&file)) >= half);
            cluster.mrc.kill9();
            cluster.mrc.restart();
        }
        for worker in &mut workers {
            let ended = worker.wait().expect("it is ours to wait for");
            assert!(ended.success(), "{kind:?}: {ended}");
        }
        let expected = u64::from(each * 2 * plan.processes_per_mount);
        for mount in &mounts {
            assert_eq!(number_in(&mount.join(&file)), expected, "{kind:?}");
        }
    }
    for mount in mounts {
        mount.unmount();
    }
}

fn start(path: &std::path::Path, kind: Kind, count: u32) -> Child {
    let mut command = Command::new(program("xtfs-locker"));
    command.arg(path).arg(kind.name()).arg(count.to_string()).stdin(Stdio::null());
    command.spawn().expect("our own program starts")
}

fn number_in(path: &std::path::Path) -> u64 {
    let text = fs::read_to_string(path).expect("a file on the mount");
    text.trim().parse().unwrap_or_else(|err| panic!("{}: {text:?}: {err}", path.display()))
}

/// Adds one to the number in the file, under a lock.
pub fn add(file: &File, kind: Kind) -> io::Result<()> {
    kind.set(file, Take::Exclusive, (0, 0), true)?;
    let mut text = [0; 20];
    file.read_exact_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text).map_err(io::Error::other)?;
    let number: u64 = text.parse().map_err(io::Error::other)?;
    file.write_all_at(format!("{:020}", number + 1).as_bytes(), 0)?;
    kind.set(file, Take::Unlock, (0, 0), true)
}
