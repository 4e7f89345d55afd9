//! What `df` says: files to the last one at once, bytes as the disks of the OSDs have them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{StatVfs, statvfs};
use xtfs_testkit::{Cluster, OsdOptions, eventually, fuse_or_skip, tree};

use crate::small_disk::SmallDisk;

fn bytes(of: &StatVfs) -> [u64; 3] {
    [of.f_blocks, of.f_bfree, of.f_bavail].map(|blocks| blocks * of.f_frsize)
}

fn files(path: &Path) -> u64 {
    let of = statvfs(path).unwrap();
    of.f_files - of.f_ffree
}

#[test]
fn df_tells_what_there_is() {
    if !fuse_or_skip() {
        return;
    }
    let disks = [SmallDisk::new("200M"), SmallDisk::new("300M")];
    let mut cluster = Cluster::start(0);
    for disk in &disks {
        let data = vec![disk.path().join("data")];
        cluster.add_osd(OsdOptions { data, ..OsdOptions::default() });
    }
    cluster.mkfs("v", &["-s", "64k", "-w", "2"]);
    let (mount, other) = (cluster.mount("v"), cluster.mount("v"));
    let there = || {
        let all = disks.each_ref().map(|disk| bytes(&statvfs(disk.path()).unwrap()));
        [all[0][0] + all[1][0], all[0][1] + all[1][1], all[0][2] + all[1][2]]
    };
    let shown = || bytes(&statvfs(mount.path()).unwrap());
    // What the disks' own file systems keep for root is not ours either, and the OSDs keep a reserve.
    eventually("both disks are counted", || shown()[0].abs_diff(there()[0]) < 1 << 20);
    assert!(shown()[2] <= shown()[1] && shown()[1] <= there()[1], "{:?} {:?}", shown(), there());
    assert_eq!(statvfs(mount.path()).unwrap().f_namemax, 255);

    let before = files(mount.path());
    fs::write(mount.join("f"), b"").unwrap();
    fs::create_dir(mount.join("d")).unwrap();
    std::os::unix::fs::symlink("t", mount.join("s")).unwrap();
    fs::hard_link(mount.join("f"), mount.join("g")).unwrap();
    assert_eq!(files(mount.path()), before + 3);
    assert_eq!(files(other.path()), before + 3);
    fs::remove_dir(other.join("d")).unwrap();
    fs::remove_file(other.join("s")).unwrap();
    assert_eq!(files(mount.path()), before + 1);

    let empty = shown();
    let file = fs::File::create(mount.join("big")).unwrap();
    file.write_all_at(&tree::bytes(40 << 20, 1), 0).unwrap();
    file.sync_all().unwrap();
    // Data, its checksums, and what the OSDs remember of it.
    let (least, most) = (40 << 20, 44 << 20);
    eventually("what was written is not free", || {
        let taken = empty[2].saturating_sub(shown()[2]);
        (least..most).contains(&taken) && shown()[0] == empty[0]
    });
    file.set_len(0).unwrap();
    eventually("what was cut is free", || shown()[2] + (4 << 20) > empty[2]);
    drop(file);
    fs::remove_file(mount.join("big")).unwrap();
    fs::remove_file(mount.join("f")).unwrap();
    fs::remove_file(mount.join("g")).unwrap();
    eventually("no file is counted any more", || files(other.path()) == before);
}
