//! All services go away under a load: what waits is told at its deadline, whoever is killed goes, and all is well again
//! when they are back.

use std::fs;
use std::path::Path;

use xtfs_testkit::{Cluster, Session, eventually, fuse_or_skip, program, run};

/// Works on the folder `$1`, and goes on whatever fails. Each part makes a file with its name when it is under way.
const LOAD: &str = r#"
set +e
cd "FOLDER" || exit
again() {
    touch "started.$1"
    while :; do "$@" || sleep 0.05; done
}
stressors() {
    stress-ng --temp-path . --timeout 3600 --hdd 1 --hdd-bytes 16m --iomix 1 --iomix-bytes 16m --dentry 1 \
        --rename 1 --flock 1 --mmap 1 --mmap-file --mmap-bytes 4m
}
append() { echo line >>appended; }
move() { echo new >"moving.$1" && mv "moving.$1" moved && cat moved; }
look() { find . -ls && stat -f .; }
sync_one() { dd if=/dev/zero of=synced bs=64k count=8 conv=fsync; }
wait_for_lock() { flock held true; }
hold() {
    exec {held}>held
    flock "$held"
    touch started.hold
    sleep 3600
}
# One file for several, so that they wait for each other, too.
crowd() { dd if=/dev/urandom of=crowded bs=4k count=16 conv=notrunc; }
# Whoever is killed closes all that it has open, one after the other, before it is gone. Emptied files are synced then.
many_emptied() {
    for number in {1..120}; do echo before >"emptied.$number"; done
    # There is always something that is not synced yet.
    while :; do echo data && sleep 0.5; done | tee emptied.{1..120} &
    until grep -q data emptied.120; do sleep 0.05; done
    touch started.many_emptied
    sleep 3600
}
many_locked() {
    for number in {1..40}; do echo >"locked.$number"; done
    {
        for number in {1..40}; do echo "use locked.$number" && echo "fcntl try exclusive 0 0"; done
        sleep 3600
    } | LOCKER locked.1 | {
        for number in {1..80}; do read -r _; done
        touch started.many_locked
        sleep 3600
    }
}
for part in hold many_emptied many_locked; do
    "$part" &
    # Before the others make it slow.
    until [ -e "started.$part" ]; do sleep 0.05; done
done
for part in stressors append move look sync_one wait_for_lock crowd crowd crowd crowd; do again "$part" & done
wait
"#;

const PARTS: [&str; 10] = [
    "stressors",
    "append",
    "move",
    "look",
    "sync_one",
    "wait_for_lock",
    "crowd",
    "hold",
    "many_emptied",
    "many_locked",
];

#[test]
fn lost_services_leave_nobody_who_cannot_be_killed() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(2);
    cluster.mkfs("v", &["-w", "2", "-s", "64k"]);
    let mount = cluster.mount_with("v", &["-o", "timeo=3s"]);
    let requests = mount.waiting();
    let waiting = || fs::read_to_string(&requests).unwrap().trim().parse::<u32>().unwrap();

    let script = LOAD.replace("FOLDER", mount.path().to_str().unwrap());
    let script = script.replace("LOCKER", program("xtfs-locker").to_str().unwrap());
    let mut load = Session::start(&script);
    eventually("all parts of the load are under way", || {
        PARTS.iter().all(|part| mount.join(format!("started.{part}")).exists())
    });

    for daemon in cluster.osds.iter_mut().chain([&mut cluster.mrc, &mut cluster.dir]) {
        daemon.kill9();
    }
    eventually("somebody waits", || waiting() > 0);
    // Each goes on with another operation, and waits again.
    for _ in 0..3 {
        let mut left = load.waits();
        eventually("those who wait are told so", || {
            let now = load.waits();
            left.retain(|wait| now.contains(wait));
            left.is_empty()
        });
    }
    load.kill9();
    eventually("no request is left", || waiting() == 0);

    cluster.dir.restart();
    cluster.mrc.restart();
    cluster.osds.iter_mut().for_each(|osd| osd.restart());
    eventually("the mount works again", || write_and_read(&mount.join("after")));
    eventually("its locks, too", || {
        run("flock", &["--nonblock".as_ref(), mount.join("held").as_os_str(), "true".as_ref()]).code
            == 0
    });
    mount.unmount();
    cluster.assert_clean("v");
}

fn write_and_read(path: &Path) -> bool {
    fs::write(path, b"works").is_ok() && fs::read(path).is_ok_and(|read| read == b"works")
}
