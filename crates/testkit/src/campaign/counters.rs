//! Processes on two mounts that add one to a number in a file, under locks of each kind: none is lost.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::disturbance::Disturbance;
use crate::lock::{Kind, Take};
use crate::{Cluster, program};

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of each kind of lock, all processes together.
    pub increments: u32,
    pub processes_per_mount: u32,
    /// Of each kind.
    pub disturbance: Disturbance,
    pub seed: u64,
}

/// Panics if an increment was lost.
pub fn run(plan: Plan) {
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mounts = [cluster.mount("v"), cluster.mount("v")];
    for kind in Kind::ALL {
        let file = format!("counter-{}", kind.name());
        zero(&mounts[0].join(&file)).expect("a file on the mount");
        let each = plan.increments / (2 * plan.processes_per_mount);
        let mut workers: Vec<Child> = (0..plan.processes_per_mount)
            .flat_map(|_| &mounts)
            .map(|mount| start(&mount.join(&file), kind, each))
            .collect();
        let ended = plan.disturbance.during(&mut cluster, plan.seed, || {
            let wait = |worker: &mut Child| worker.wait().expect("it is ours to wait for");
            workers.iter_mut().map(wait).collect::<Vec<_>>()
        });
        for ended in ended {
            assert!(ended.success(), "{kind:?}: {ended}, {plan:?}");
        }
        let expected = u64::from(each * 2 * plan.processes_per_mount);
        for mount in &mounts {
            assert_eq!(number_in(&mount.join(&file)), expected, "{kind:?}, {plan:?}");
        }
        println!("{kind:?}: {expected} increments, none lost");
    }
    for mount in mounts {
        mount.unmount();
    }
}

fn start(path: &Path, kind: Kind, count: u32) -> Child {
    let mut command = Command::new(program("xtfs-locker"));
    command.arg(path).arg(kind.name()).arg(count.to_string()).stdin(Stdio::null());
    command.spawn().expect("our own program starts")
}

fn number_in(path: &Path) -> u64 {
    let text = fs::read_to_string(path).expect("a file on the mount");
    text.trim().parse().unwrap_or_else(|err| panic!("{}: {text:?}: {err}", path.display()))
}

/// Adds one to the number in the file, under a lock.
pub fn add(file: &File, kind: Kind) -> io::Result<()> {
    kind.set(file, Take::Exclusive, (0, 0), true)?;
    set_number(file, number_of(file)? + 1)?;
    kind.set(file, Take::Unlock, (0, 0), true)
}

pub fn zero(path: &Path) -> io::Result<()> {
    fs::write(path, format!("{:020}", 0))
}

pub fn number_of(file: &File) -> io::Result<u64> {
    let mut text = [0; 20];
    file.read_exact_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text).map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}

pub fn set_number(file: &File, number: u64) -> io::Result<()> {
    file.write_all_at(format!("{number:020}").as_bytes(), 0)
}
