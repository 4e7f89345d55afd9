//! One more OSD grows every volume while it runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use xtfs_testkit::{Cluster, OsdOptions, eventually, fuse_or_skip, program, run, tree};

/// Of 1 MiB each: 2 GiB.
const PIECES: u64 = 2048;

fn piece(number: u64) -> Vec<u8> {
    tree::bytes(1 << 20, number % 8)
}

fn write_all(path: &Path, written: &AtomicU64) {
    let mut file = File::create(path).unwrap();
    for number in 0..PIECES {
        file.write_all(&piece(number)).unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
    file.sync_all().unwrap();
}

fn check_all(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut read = vec![0; 1 << 20];
    for number in 0..PIECES {
        file.read_exact(&mut read).unwrap();
        assert!(read == piece(number), "MiB {number} is not what was written");
    }
}

fn blocks_total(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_blocks * stat.f_frsize
}

#[test]
fn a_new_osd_grows_a_volume_in_use() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(0);
    let capped =
        || OsdOptions { args: vec!["--capacity".into(), "3GiB".into()], ..Default::default() };
    cluster.add_osd(capped());
    cluster.add_osd(capped());
    cluster.mkfs("v", &["-w", "2", "-s", "64k"]);
    let mount = cluster.mount("v");
    eventually("df shows both", || blocks_total(mount.path()) == 6 << 30);

    fs::write(mount.join("read"), piece(0)).unwrap();
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_all(&mount.join("during"), &written));
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while written.load(Ordering::Relaxed) < PIECES {
                assert!(fs::read(mount.join("read")).unwrap() == piece(0));
                reads += 1;
            }
            reads
        });
        eventually("writing is under way", || written.load(Ordering::Relaxed) > PIECES / 16);
        let start = Instant::now();
        cluster.add_osd(capped());
        eventually("df has grown", || blocks_total(mount.path()) == 9 << 30);
        println!("df had grown {:?} after the OSD was started", start.elapsed());
        writer.join().unwrap();
        assert!(reader.join().unwrap() > 0);
    });
    check_all(&mount.join("during"));

    let mut on_new = 0;
    let listed = cluster.xtfs(&["osd", "ls", "--json"]).json();
    let newest = listed["osds"]
        .as_array()
        .unwrap()
        .iter()
        .find(|osd| osd["path"].as_str() == cluster.osd_data(2).to_str());
    let newest = newest.unwrap()["id"].clone();
    for number in 0..60 {
        let path = mount.join(format!("f{number}"));
        fs::write(&path, b"x").unwrap();
        let shown = run(program("xtfs"), &["where", path.to_str().unwrap(), "--json"]).json();
        let columns = shown["columns"].as_array().unwrap().clone();
        on_new += columns.iter().filter(|column| column["replicas"][0]["osd"] == newest).count();
    }
    // 120 columns over three targets, of which the new one has most room: more than 40 are expected; 15 is six standard
    // deviations off.
    assert!(on_new > 15, "{on_new} of 120 columns are on the new OSD");
}

#[test]
fn two_daemons_on_a_node_and_two_disks_in_a_daemon_are_targets_of_their_own() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(2);
    let disks = vec![cluster.base().join("disk1"), cluster.base().join("disk2")];
    cluster.add_osd(OsdOptions { data: disks, ..Default::default() });
    cluster.mkfs("v", &["-w", "4"]);
    let mount = cluster.mount("v");
    fs::write(mount.join("f"), tree::bytes(1 << 20, 2)).unwrap();
    assert_eq!(fs::read(mount.join("f")).unwrap(), tree::bytes(1 << 20, 2));
    // All lie on one file system, which df counts once.
    let local = rustix::fs::statvfs(cluster.base()).unwrap();
    assert_eq!(blocks_total(mount.path()), local.f_blocks * local.f_frsize);
}

#[test]
fn a_locked_target_takes_no_new_files() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &[]);
    let listed = cluster.xtfs(&["osd", "ls", "--json"]).json();
    let id = listed["osds"][0]["id"].as_str().unwrap().to_owned();
    cluster.xtfs(&["osd", "set", &id, "locked"]).ok();
    let mount = cluster.mount("v");
    let lands_on_locked = |name: String| {
        let path = mount.join(name);
        fs::write(&path, b"x").unwrap();
        let shown = run(program("xtfs"), &["where", path.to_str().unwrap(), "--json"]).json();
        shown["columns"][0]["replicas"][0]["osd"].as_str() == Some(&id)
    };
    let mut round = 0;
    eventually("the lock has reached placement", || {
        round += 1;
        (0..8).all(|n| !lands_on_locked(format!("r{round}-{n}")))
    });
}
