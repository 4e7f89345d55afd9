//! One more OSD grows every volume while it runs.

use std::fs;
use std::os::unix::fs::FileExt;

use xtfs_testkit::{Cluster, OsdOptions, eventually, fuse_or_skip, program, run, tree};

fn blocks_total(path: &std::path::Path) -> u64 {
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

    let file = fs::File::create(mount.join("during")).unwrap();
    let piece = tree::bytes(1 << 20, 1);
    file.write_all_at(&piece, 0).unwrap();
    cluster.add_osd(capped());
    file.write_all_at(&piece, 1 << 20).unwrap();
    eventually("df has grown", || blocks_total(mount.path()) == 9 << 30);
    assert_eq!(fs::read(mount.join("during")).unwrap().len(), 2 << 20);

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
    // 120 columns over three targets of one size: 40 are expected; 15 is six standard deviations off.
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
