//! Real work on a real mount: a kernel tree, the applications that people use, and suites that we did not write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::disturbance::Disturbance;
use super::disturbed::{lines, run_disturbed};
use crate::{Cluster, Mount, OsdOptions, program, run, tree};

/// Four OSDs as processes of their own, a volume striped 128 KiB × 4, and its mount.
#[derive(Debug)]
pub struct Striped {
    // Unmounted before the services end.
    pub mount: Mount,
    pub cluster: Cluster,
}

impl Striped {
    pub fn start() -> Self {
        Striped::with_layout("128k", 4)
    }

    /// The volume striped otherwise.
    pub fn with_layout(stripe_size: &str, stripe_width: u16) -> Self {
        let mut cluster = Cluster::start(0);
        for _ in 0..4 {
            cluster.add_osd(OsdOptions::default());
        }
        cluster.mkfs("v", &["-s", stripe_size, "-w", &stripe_width.to_string()]);
        let mount = cluster.mount("v");
        Striped { mount, cluster }
    }

    /// Runs a script, which is made from the path of the mount, while services are killed.
    #[track_caller]
    pub fn sh(
        &mut self,
        seed: u64,
        disturbance: Disturbance,
        script: impl FnOnce(std::path::Display<'_>) -> String,
    ) -> String {
        let script = script(self.mount.path().display());
        disturbance.during(&mut self.cluster, seed, || sh(&script))
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
pub fn kernel_tree(seed: u64, disturbance: Disturbance) {
    let archive = Path::new("/usr/src/linux-source-6.1.tar.xz");
    assert!(archive.exists(), "{} is missing; apt-get install linux-source-6.1", archive.display());
    let local = TempDir::with_prefix("xtfs-kernel-").expect("a temporary folder");
    let mut striped = Striped::start();
    sh(&format!("tar -xf {} -C {}", archive.display(), local.path().display()));
    striped.sh(seed, disturbance, |mount| format!("tar -xf {} -C {mount}", archive.display()));
    let mut striped = striped.remount();
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
    striped.sh(seed, disturbance, |_| format!("cd {} && {build}", ours.display()));
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

/// git, sqlite, rsync, tar and a disk image, each disturbed anew.
pub fn applications(striped: &mut Striped, disturbance: Disturbance) {
    let source = TempDir::with_prefix("xtfs-source-").expect("a temporary folder");
    tree::make(source.path(), 400, 9);
    let local = source.path().display();
    sh(&format!(
        "cd {local} && git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -qm one"
    ));
    striped.sh(1, disturbance, |mount| {
        format!(
            "git clone -q --no-local {local} {mount}/clone && cd {mount}/clone && \
             echo more >more && git add more && git -c user.name=t -c user.email=t@t commit -qm two && \
             git gc -q && git fsck --strict && test -z \"$(git status --porcelain)\""
        )
    });
    striped.sh(2, disturbance, |mount| {
        format!(
            "cd {mount} && sqlite3 base.db 'create table t(n integer primary key, v text)' && \
             for n in $(seq 1000); do echo \"insert into t values($n, 'value $n');\"; done | sqlite3 base.db && \
             test \"$(sqlite3 base.db 'select count(*) from t')\" = 1000 && \
             test \"$(sqlite3 base.db 'pragma integrity_check')\" = ok"
        )
    });
    striped.sh(3, disturbance, |mount| {
        format!(
            "rsync -aHX --checksum {local}/ {mount}/synced/ && \
             rsync -aHXni --checksum {local}/ {mount}/synced/ | wc -l | grep -qx 0"
        )
    });
    striped.sh(4, disturbance, |mount| {
        format!(
            "tar -C {local} --format=posix -cf {mount}/all.tar . && mkdir {mount}/untarred && \
             tar -C {mount}/untarred -xf {mount}/all.tar"
        )
    });
    tree::assert_equal(source.path(), &striped.mount.join("untarred"));
    striped.sh(5, disturbance, |mount| disk_image(&format!("{mount}/image.raw")));
}

/// A raw image of a virtual disk, written here and there and checked; several times, so that it can be disturbed.
fn disk_image(path: &str) -> String {
    format!(
        "for round in $(seq 15); do qemu-img create -q -f raw {path} 200M && \
         qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -P 9 150M 64k' -c 'discard 2M 64k' -c flush {path} && \
         qemu-io -f raw -c 'read -P 7 1M 1M' -c 'read -P 9 150M 64k' -c 'read -P 0 199M 1M' {path}; done"
    )
}

/// Operations of one process of `fsx`: it never unmaps what it reads through mappings, so that each costs more than the
/// one before, and the kernel refuses one more after some 300 000 operations.
const FSX_ROUND: u64 = 25_000;

/// The crates.io `fsx` on a file of this volume, in rounds with the seeds from `seed` on. The middle one is disturbed.
pub fn fsx(mut striped: Striped, operations: u64, seed: u64, disturbance: Disturbance) {
    let rounds = operations.div_ceil(FSX_ROUND);
    for (round, seed) in (0..rounds).zip(seed..) {
        let count = FSX_ROUND.min(operations - round * FSX_ROUND);
        let mut command = Command::new(tool("fsx"));
        command.args(["-N", &count.to_string(), "-S", &seed.to_string()]);
        let disturbance = if round == rounds / 2 { disturbance } else { Disturbance::None };
        if disturbance != Disturbance::None {
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

/// The crates.io `pjdfstest`, to its end. Returns its last lines, in which it counts; panics if a test failed, or if
/// another was skipped than those that `docs/semantics.md` gives reasons for.
pub fn pjdfstest(disturbance: Disturbance) -> String {
    let mut striped = Striped::start();
    // By itself: other tests of the suite leave a file open, after which no file system is remounted read-only.
    let remounting = pjdfstest_run(&mut striped, Remounts::Yes, &["erofs"], Disturbance::None);
    let others = pjdfstest_run(&mut striped, Remounts::No, &[], disturbance);
    for skipped in &others.skipped {
        let known = ["::erofs_", "link::link_count_max"].iter().any(|it| skipped.contains(it));
        assert!(known, "{skipped}");
    }
    assert!(remounting.skipped.is_empty(), "{:?}", remounting.skipped);
    format!("{}\nread-only: {}", others.summary, remounting.summary)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remounts {
    Yes,
    No,
}

struct Pjdfstest {
    skipped: Vec<String>,
    summary: String,
}

fn pjdfstest_run(
    striped: &mut Striped,
    remounts: Remounts,
    filters: &[&str],
    disturbance: Disturbance,
) -> Pjdfstest {
    let folder = TempDir::with_prefix("xtfs-pjdfstest-").expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    // A folder elsewhere: links and renames to it are refused.
    let elsewhere = format!("[features]\nsecondary_fs = {:?}\n", folder.path());
    let allowed = format!("[settings]\nallow_remount = {}\n", remounts == Remounts::Yes);
    fs::write(at("settings"), [&elsewhere, PJDFSTEST_SETTINGS, &allowed].concat()).expect("write");
    // The suite remounts with mount(8), which finds our helper only where we are installed.
    let helper = format!(
        "#!/bin/sh\ncase $2 in\nremount,*) exec {} {} \"$3\" \"$1\" \"$2\" ;;\n*) exec /bin/mount \"$@\" ;;\nesac\n",
        program("mount-xtfs").display(),
        striped.cluster.spec("v")
    );
    fs::write(at("mount"), helper).expect("write");
    sh(&format!("chmod +x {}", at("mount").display()));
    let path = std::env::var("PATH").expect("PATH is set");
    let mut command = Command::new(tool("pjdfstest"));
    command.env("PATH", format!("{}:{path}", folder.path().display()));
    command.arg("-c").arg(at("settings")).arg("-p").arg(striped.mount.path()).args(filters);
    let half_done = |output: &Path| lines(output) >= PJDFSTEST_HALF;
    let ran = run_disturbed(command, &mut striped.cluster, disturbance, half_done);
    let stdout = ran.stdout.as_str();
    let summary = stdout.lines().rfind(|line| line.starts_with("Summary"));
    let summary = summary.unwrap_or_else(|| panic!("{stdout}"));
    let with = |word: &str| {
        stdout.lines().filter(|line| line.ends_with(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    let failed = with("FAILED");
    assert!(failed.is_empty() && summary.contains(" 0 failed"), "{failed:#?}\n{summary}");
    Pjdfstest { skipped: with("skipped"), summary: summary.to_owned() }
}

/// Users that every Debian has, and what Linux file systems can do beyond the least that POSIX asks for. Follows the
/// table of features.
const PJDFSTEST_SETTINGS: &str = r#"
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
