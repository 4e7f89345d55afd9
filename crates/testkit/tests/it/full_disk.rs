//! Full disks: the right errno, nothing damaged, and space that comes back.

use std::fs;
use std::io::Write;
use std::path::Path;

use xtfs_testkit::{Cluster, OsdOptions, eventually, fuse_or_skip, tree};

use crate::small_disk::SmallDisk;

/// Writes until the filesystem says that it is full.
fn fill(path: &Path) -> u64 {
    let mut file = fs::File::create(path).unwrap();
    let piece = tree::bytes(1 << 20, 1);
    let mut written = 0;
    loop {
        match file.write(&piece) {
            Ok(len) => written += len as u64,
            Err(err) => {
                assert_eq!(err.raw_os_error(), Some(libc::ENOSPC), "{err}");
                return written;
            }
        }
        assert!(written < 1 << 30, "never full");
    }
}

#[test]
fn a_full_osd_refuses_writes_and_gives_space_back() {
    if !fuse_or_skip() {
        return;
    }
    let disk = SmallDisk::new("200M");
    let mut cluster = Cluster::start(0);
    cluster.add_osd(OsdOptions { data: vec![disk.path().join("osd")], ..Default::default() });
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::write(mount.join("small"), b"before").unwrap();
    let written = fill(&mount.join("big"));
    assert!(written > 64 << 20, "{written}");
    assert_eq!(fs::read(mount.join("small")).unwrap(), b"before");
    let kept = fs::read(mount.join("big")).unwrap();
    assert_eq!(&kept[..1 << 20], tree::bytes(1 << 20, 1));
    drop(kept);

    // An OSD with room takes the new files.
    cluster.add_osd(OsdOptions::default());
    eventually("new files avoid the full OSD", || {
        let name = mount.join("other");
        let ok = fs::write(&name, tree::bytes(4 << 20, 2)).is_ok();
        ok || fs::remove_file(&name).is_err()
    });

    let free = || rustix::fs::statvfs(disk.path()).unwrap().f_bavail;
    let before = free();
    fs::remove_file(mount.join("big")).unwrap();
    eventually("the space is back on disk", || free() > before + 10_000);
    cluster.assert_clean("v");
}

#[test]
fn a_full_mrc_refuses_changes_and_still_reads_and_deletes() {
    if !fuse_or_skip() {
        return;
    }
    let disk = SmallDisk::new("120M");
    let mut cluster = Cluster::start(1);
    // The MRC's data directory moves to the small disk before it holds anything.
    cluster.mrc.terminate();
    let own = cluster.base().join("mrc");
    fs::remove_dir_all(&own).unwrap();
    std::os::unix::fs::symlink(disk.path().join("mrc"), &own).unwrap();
    fs::create_dir(disk.path().join("mrc")).unwrap();
    cluster.mrc.restart();
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::write(mount.join("f"), b"kept").unwrap();
    let mut ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    while ballast.write(&[1; 1 << 16]).is_ok_and(|len| len > 0) {}

    let refused = eventually_refused(&mount);
    assert_eq!(refused, Some(libc::ENOSPC));
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"kept");
    fs::remove_file(mount.join("f")).unwrap();
    fs::remove_file(disk.path().join("ballast")).unwrap();
    drop(ballast);
    eventually("changes go again", || fs::write(mount.join("g"), b"again").is_ok());
    assert_eq!(fs::read(mount.join("g")).unwrap(), b"again");
}

fn eventually_refused(mount: &xtfs_testkit::Mount) -> Option<i32> {
    let mut number = 0;
    let mut refused = None;
    eventually("a change is refused", || {
        number += 1;
        refused = fs::create_dir(mount.join(format!("d{number}"))).err();
        refused.is_some()
    });
    refused.and_then(|err| err.raw_os_error())
}
