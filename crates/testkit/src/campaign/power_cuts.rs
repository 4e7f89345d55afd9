//! Power cuts of a whole running cluster.
//!
//! All service data lies on ext4 images; the images lie on one btrfs. A snapshot of the btrfs takes all images at one
//! instant, as a power cut leaves disks. A second cluster is booted from the snapshot and checked: everything that
//! fsync acknowledged before the cut is there and right, nothing else is damaged, `fsck` is clean.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::workload::content_of;
use crate::{Cluster, Mount, eventually, run};

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub cuts: u32,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub cuts: u32,
    pub synced_files_checked: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cuts, {} fsynced files checked", self.cuts, self.synced_files_checked)
    }
}

/// A btrfs in a file. Dropping it unmounts.
#[derive(Debug)]
struct Disks {
    folder: TempDir,
}

/// Images of a subvolume, mounted as the data of a cluster. Dropping it unmounts.
#[derive(Debug)]
struct Images {
    points: Vec<PathBuf>,
    base: TempDir,
}

const IMAGES: [&str; 4] = ["dir", "mrc", "osd0", "osd1"];

impl Disks {
    fn new() -> Self {
        let disks =
            Disks { folder: TempDir::with_prefix("xtfs-disks-").expect("a temporary folder") };
        let image = disks.folder.path().join("btrfs.img");
        sh(&format!("truncate -s 16G {0} && mkfs.btrfs -q {0}", image.display()));
        fs::create_dir(disks.root()).expect("a folder");
        sh(&format!("mount -o loop,nodatasum {} {}", image.display(), disks.root().display()));
        sh(&format!("btrfs -q subvolume create {}/live", disks.root().display()));
        for name in IMAGES {
            let image = disks.root().join("live").join(name);
            sh(&format!("truncate -s 2G {0} && mkfs.ext4 -q -F {0}", image.display()));
        }
        disks
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("btrfs")
    }

    /// The power cut: all images at one instant, unsynced data of ours lost.
    fn cut(&self, name: &str) {
        let root = self.root();
        sh(&format!("btrfs -q subvolume snapshot {0}/live {0}/{name}", root.display()));
    }

    fn forget(&self, name: &str) {
        sh(&format!("btrfs -q subvolume delete {}/{name}", self.root().display()));
    }

    /// Mounts the images of a subvolume as the folders that `Cluster` uses.
    fn mount(&self, name: &str) -> Images {
        let base = TempDir::with_prefix("xtfs-cut-").expect("a temporary folder");
        let mut images = Images { points: Vec::new(), base };
        for disk in IMAGES {
            let point = images.base.path().join(format!("{disk}.disk"));
            fs::create_dir(&point).expect("a folder");
            let image = self.root().join(name).join(disk);
            sh(&format!("mount -o loop {} {}", image.display(), point.display()));
            images.points.push(point.clone());
            let data = point.join("data");
            std::os::unix::fs::symlink(&data, images.base.path().join(disk)).expect("a link");
            fs::create_dir_all(&data).expect("a folder");
        }
        images
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        run("umount", &["-l".as_ref(), self.root().as_os_str()]);
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for point in &self.points {
            run("umount", &["-l".as_ref(), point.as_os_str()]);
        }
    }
}

/// Panics with the seed at the first loss.
pub fn run_plan(plan: Plan) -> Figures {
    eprintln!("{plan:?}");
    let mut random = StdRng::seed_from_u64(plan.seed);
    let disks = Disks::new();
    let images = disks.mount("live");
    let cluster = Cluster::start_in(images.base.path(), 2);
    cluster.mkfs("v", &["-w", "2", "-s", "64k"]);
    let mount = cluster.mount("v");
    let stop = AtomicBool::new(false);
    let synced = Mutex::new(Vec::new());
    // Held by whoever writes, and by the check of a cut: the workload rests meanwhile.
    let gate = RwLock::new(());
    let mut figures = Figures::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3u64)
            .map(|n| {
                scope.spawn({
                    let (mount, stop, synced, gate) = (&mount, &stop, &synced, &gate);
                    move || write_and_sync(mount, n, plan.seed, stop, synced, gate)
                })
            })
            .collect();
        for cut in 0..plan.cuts {
            let target = synced.lock().expect("no panic").len() + random.random_range(3..25);
            eventually("files are synced", || {
                synced.lock().expect("no panic").len() >= target
                    || workers.iter().any(thread::ScopedJoinHandle::is_finished)
            });
            let before: Vec<_> = synced.lock().expect("no panic").clone();
            let name = format!("cut{cut}");
            disks.cut(&name);
            let _resting = gate.write().expect("no panic");
            figures.synced_files_checked += check(&disks, &name, &before, plan);
            figures.cuts += 1;
            disks.forget(&name);
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("no panic");
        }
    });
    mount.unmount();
    figures
}

/// Makes files, fsyncs most of them, and says which are synced: path below the mount and seed of the bytes.
fn write_and_sync(
    mount: &Mount,
    number: u64,
    seed: u64,
    stop: &AtomicBool,
    synced: &Mutex<Vec<(String, u64)>>,
    gate: &RwLock<()>,
) {
    let folder = format!("w{number}");
    fs::create_dir(mount.join(&folder)).expect("a folder");
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let _working = gate.read().expect("no panic");
        let content = seed + number * 1_000_000 + round;
        let name = format!("{folder}/f{round}");
        let mut file = File::create(mount.join(&name)).expect("make a file");
        file.write_all(&content_of(content)).expect("write");
        if round % 4 == 3 {
            continue; // May be lost, or there in part; must not do harm.
        }
        file.sync_all().expect("fsync");
        // What was synced first and then moved: its name is durable when the directory was synced.
        let moved = format!("{folder}/g{round}");
        if round.is_multiple_of(5) {
            fs::rename(mount.join(&name), mount.join(&moved)).expect("rename");
            File::open(mount.join(&folder))
                .and_then(|dir| dir.sync_all())
                .expect("fsync of a directory");
            synced.lock().expect("no panic").push((moved, content));
        } else {
            synced.lock().expect("no panic").push((name, content));
        }
    }
}

/// Boots a cluster from the snapshot and looks. Returns how many files it compared.
fn check(disks: &Disks, name: &str, synced: &[(String, u64)], plan: Plan) -> usize {
    let images = disks.mount(name);
    let cluster = Cluster::start_in(images.base.path(), 2);
    let mount = cluster.mount("v");
    for (path, content) in synced {
        let read = fs::read(mount.join(path))
            .unwrap_or_else(|err| panic!("{plan:?} {name} {path}: {err}"));
        assert!(
            read == content_of(*content),
            "{plan:?} {name} {path}: other bytes than were synced"
        );
    }
    // What was not synced may be gone or cut short, but it reads without an error.
    read_all(mount.path());
    mount.unmount();
    cluster.assert_clean("v");
    synced.len()
}

fn read_all(folder: &Path) {
    for entry in fs::read_dir(folder).expect("list") {
        let path = entry.expect("list").path();
        if path.is_dir() {
            read_all(&path);
        } else {
            fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        }
    }
}

#[track_caller]
fn sh(script: &str) {
    run("sh", &["-c", script]).ok();
}
