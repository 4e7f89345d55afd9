//! Real work on a real mount: a kernel tree, the applications that people use, and suites that we did not write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::counted::Counted;
use super::disturbed::{lines, run_disturbed};
use crate::{Cluster, Mount, OsdOptions, eventually, program, run, tree};

/// Four OSDs as processes of their own, a volume striped 128 KiB × 4, and its mount.
#[derive(Debug)]
pub struct Striped {
    // Unmounted before the services end.
    pub mount: Mount,
    pub cluster: Cluster,
}

impl Striped {
    pub fn start() -> Self {
        let mut cluster = Cluster::start(0);
        for _ in 0..4 {
            cluster.add_osd(OsdOptions::default());
        }
        cluster.mkfs("v", &["-s", "128k", "-w", "4"]);
        let mount = cluster.mount("v");
        Striped { mount, cluster }
    }

    fn remount(self) -> Self {
        let Striped { mount, cluster } = self;
        mount.unmount();
        let mount = cluster.mount("v");
        Striped { mount, cluster }
    }
}

/// Unpacks Debian's kernel source, compares it after a remount with a local unpack, looks at how evenly the OSDs are
/// filled, and compiles a part of it.
pub fn kernel_tree() {
    let archive = Path::new("/usr/src/linux-source-6.1.tar.xz");
    assert!(archive.exists(), "{} is missing; apt-get install linux-source-6.1", archive.display());
    let local = TempDir::with_prefix("xtfs-kernel-").expect("a temporary folder");
    let striped = Striped::start();
    sh(&format!("tar -xf {} -C {}", archive.display(), local.path().display()));
    sh(&format!("tar -xf {} -C {}", archive.display(), striped.mount.path().display()));
    let striped = striped.remount();
    let (ours, theirs) =
        (striped.mount.join("linux-source-6.1"), local.path().join("linux-source-6.1"));
    tree::assert_equal(&theirs, &ours);
    let sums = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";
    assert_eq!(
        sh(&format!("cd {} && {sums}", ours.display())),
        sh(&format!("cd {} && {sums}", theirs.display()))
    );
    evenly_filled(&striped);
    big_files_are_striped(&striped);
    let build = "make -s tinyconfig && make -s -j24 lib/ kernel/ fs/ mm/";
    sh(&format!("cd {} && {build}", ours.display()));
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}

/// Over the whole tree the fullest OSD holds at most 1.2 times the emptiest.
fn evenly_filled(striped: &Striped) {
    let used: Vec<u64> = (0..4)
        .map(|index| {
            let columns = striped.cluster.osd_data(index).join("columns");
            let shown = sh(&format!("du -sk {}", columns.display()));
            shown.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("du shows KiB")
        })
        .collect();
    let (least, most) = (used.iter().min().expect("four"), used.iter().max().expect("four"));
    println!("KiB on the OSDs: {used:?}");
    assert!(most * 10 <= least * 12, "{used:?}");
}

/// Each column of eight 64 MiB files is within one stripe of a quarter.
fn big_files_are_striped(striped: &Striped) {
    for number in 0..8 {
        let path = striped.mount.join(format!("big{number}"));
        fs::write(&path, tree::bytes(64 << 20, number)).expect("write");
        let shown =
            run(program("xtfs"), &["where".as_ref(), path.as_os_str(), "--json".as_ref()]).json();
        let columns = shown["columns"].as_array().expect("columns");
        assert_eq!(columns.len(), 4);
        for column in columns {
            let bytes = column["bytes"].as_u64().expect("a number");
            assert!(bytes.abs_diff(16 << 20) <= 128 << 10, "{shown}");
        }
    }
}

/// git, sqlite, rsync, tar and a disk image.
pub fn applications(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    let source = TempDir::with_prefix("xtfs-source-").expect("a temporary folder");
    tree::make(source.path(), 400, 9);
    let local = source.path().display();
    sh(&format!(
        "cd {local} && git init -q . && git add -A && \
         git -c user.name=t -c user.email=t@t commit -qm one && \
         git clone -q --no-local {local} {0} && cd {0} && git fsck --strict && git gc -q && git status --porcelain",
        at("clone")
    ));
    sh(&format!(
        "sqlite3 {0} 'create table t(n integer primary key, v text)' && \
         for n in $(seq 1000); do echo \"insert into t values($n, 'value $n');\"; done | sqlite3 {0} && \
         test \"$(sqlite3 {0} 'select count(*) from t')\" = 1000 && \
         test \"$(sqlite3 {0} 'pragma integrity_check')\" = ok",
        at("base.db")
    ));
    sh(&format!(
        "rsync -aHX --checksum {local}/ {0}/ && rsync -aHXni --checksum {local}/ {0}/ | wc -l | grep -qx 0",
        at("synced")
    ));
    sh(&format!(
        "tar -C {local} --format=posix -cf {0} . && mkdir {1} && tar -C {1} -xf {0}",
        at("all.tar"),
        at("untarred")
    ));
    tree::assert_equal(source.path(), &folder.join("untarred"));
    disk_image(&folder.join("image.raw"));
}

/// A raw image of a virtual disk, written here and there and checked.
fn disk_image(path: &Path) {
    let shown = path.display();
    sh(&format!(
        "qemu-img create -q -f raw {shown} 200M && \
         qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -P 9 150M 64k' -c 'discard 2M 64k' -c flush {shown} && \
         qemu-io -f raw -c 'read -P 7 1M 1M' -c 'read -P 9 150M 64k' -c 'read -P 0 199M 1M' {shown}"
    ));
}

/// Operations of one process of `fsx`: it never unmaps what it reads through mappings, so that each costs more than the
/// one before, and the kernel refuses one more after some 300 000 operations.
const FSX_ROUND: u64 = 25_000;

/// The crates.io `fsx` on a striped file, in rounds with the seeds from `seed` on. The middle one is disturbed.
pub fn fsx(operations: u64, seed: u64, disturbance: Disturbance) {
    let mut striped = Striped::start();
    let rounds = operations.div_ceil(FSX_ROUND);
    for (round, seed) in (0..rounds).zip(seed..) {
        let count = FSX_ROUND.min(operations - round * FSX_ROUND);
        let mut command = Command::new(tool("fsx"));
        command.args(["-N", &count.to_string(), "-S", &seed.to_string()]);
        let disturbance = if round == rounds / 2 { disturbance } else { Disturbance::None };
        if disturbance == Disturbance::Kills {
            // A line for each operation.
            command.arg("-v");
        }
        command.arg(striped.mount.join(format!("fsx{seed}")));
        println!("{command:?}");
        let half = usize::try_from(count / 2).expect("small");
        let middle = |output: &Path| lines(output) >= half;
        run_disturbed(command, &mut striped.cluster, disturbance, middle).ok();
    }
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}

/// About half of the lines that `pjdfstest` prints, one for each test.
const PJDFSTEST_HALF: usize = 250;

/// The crates.io `pjdfstest`, to its end. Returns its last line, in which it counts; panics if a test failed.
pub fn pjdfstest(disturbance: Disturbance) -> String {
    let mut striped = Striped::start();
    let folder = TempDir::with_prefix("xtfs-pjdfstest-").expect("a temporary folder");
    let settings = folder.path().join("settings.toml");
    fs::write(&settings, PJDFSTEST_SETTINGS).expect("write");
    let mut command = Command::new(tool("pjdfstest"));
    command.arg("-c").arg(settings).arg("-p").arg(striped.mount.path());
    let half_done = |output: &Path| lines(output) >= PJDFSTEST_HALF;
    let ran = run_disturbed(command, &mut striped.cluster, disturbance, half_done);
    let failed: Vec<_> = ran.stdout.lines().filter(|line| line.contains("FAILED")).collect();
    let summary = ran.stdout.lines().rfind(|line| line.starts_with("Summary"));
    let summary = summary.unwrap_or_else(|| panic!("{}", ran.stdout));
    assert!(failed.is_empty() && summary.contains(" 0 failed"), "{}", ran.stdout);
    summary.to_owned()
}

/// Who is killed and started again while a suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    None,
    Kills,
}

/// Random operations on three mounts beside a model in memory. Panics at the first difference.
pub fn exerciser(operations: u64, seed: u64, disturbance: Disturbance) {
    let mut cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let mounts = [0, 1, 2].map(|_| cluster.mount("v"));
    fs::create_dir(mounts[0].join("folder")).expect("make a folder");
    let mut command = Command::new(program("xtfs-exerciser"));
    command.args([seed.to_string(), operations.to_string()]);
    command.args(mounts.iter().map(|mount| mount.join("folder")));
    let operations = Arc::new(AtomicU64::new(0));
    let running = Counted::start(command, &operations);
    let mut random = StdRng::seed_from_u64(seed);
    while disturbance == Disturbance::Kills && !running.has_ended() {
        // Under way again after the last kill, and then a random while.
        let target = operations.load(Ordering::Relaxed) + random.random_range(1..300);
        eventually("the operations go on", || {
            operations.load(Ordering::Relaxed) >= target || running.has_ended()
        });
        let osd = random.random_range(0..cluster.osds.len());
        let victim = if random.random() { &mut cluster.mrc } else { &mut cluster.osds[osd] };
        victim.kill9();
        victim.restart();
    }
    println!("{}", running.end());
    for mount in mounts {
        mount.unmount();
    }
    cluster.assert_clean("v");
}

/// Users that every Debian has, and what Linux file systems can do beyond the least that POSIX asks for.
const PJDFSTEST_SETTINGS: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"], ["games", "games"]]
"#;

/// A suite from crates.io, where `scripts/suites.sh` puts it.
fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    let path = cache.unwrap_or_else(home).join("xtfs/tools/bin").join(name);
    assert!(path.exists(), "{} is missing; run: scripts/suites.sh", path.display());
    path
}

#[track_caller]
pub(super) fn sh(script: &str) -> String {
    run("bash", &["-euo", "pipefail", "-c", script]).ok()
}
