//! Damage on the disk of an OSD: never wrong bytes, sound blocks stay readable, the cause is named.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xtfs_testkit::{Cluster, fuse_or_skip, tree};

/// All files below `folder`, largest first.
fn files_below(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push((entry.metadata().unwrap().len(), entry.path())),
        }
    }
    found.sort();
    found.reverse();
    found
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// A file of 1 MiB on one OSD, synced; the column file and its sidecar.
fn cluster_with_a_file() -> (Cluster, xtfs_testkit::Mount, Vec<u8>, PathBuf, PathBuf) {
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    let data = tree::bytes(1 << 20, 8);
    fs::write(mount.join("f"), &data).unwrap();
    fs::File::open(mount.join("f")).unwrap().sync_all().unwrap();
    cluster.osds[0].terminate();
    let columns = files_below(&cluster.osd_data(0).join("columns"));
    let (column, sums) = (columns[0].1.clone(), columns[1].1.clone());
    assert_eq!(columns[0].0, 1 << 20, "{columns:?}");
    (cluster, mount, data, column, sums)
}

#[test]
fn a_flipped_byte_is_eio_for_its_block_alone() {
    if !fuse_or_skip() {
        return;
    }
    let (mut cluster, mount, data, column, _) = cluster_with_a_file();
    flip(&column, 300_000);
    cluster.osds[0].restart();
    let file = OpenOptions::new().read(true).open(mount.join("f")).unwrap();
    let mut block = [0; 4096];
    let damaged = 300_000 / 4096;
    for number in [0, damaged - 40, damaged + 40, 255] {
        file.read_exact_at(&mut block, number * 4096).unwrap();
        let start = usize::try_from(number).unwrap() * 4096;
        assert!(block == data[start..start + 4096]);
    }
    let failed = file.read_exact_at(&mut block, damaged * 4096).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    assert!(cluster.osds[0].log().contains(column.file_name().unwrap().to_str().unwrap()));

    let found = cluster.xtfs(&["fsck", "v", "--json"]);
    assert_eq!(found.code, 4, "{}", found.stderr);
    let found = found.json();
    assert_eq!(found["clean"], false);
    assert_eq!(found["findings"][0]["kind"], "checksum");
    assert_eq!(found["findings"][0]["path"], "/f");
}

#[test]
fn a_flipped_byte_in_a_checksum_file_is_eio() {
    if !fuse_or_skip() {
        return;
    }
    let (mut cluster, mount, _, _, sums) = cluster_with_a_file();
    let len = fs::metadata(&sums).unwrap().len();
    flip(&sums, len - 3);
    cluster.osds[0].restart();
    let failed = fs::read(mount.join("f")).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
}

#[test]
fn a_truncated_and_a_missing_column_file_are_eio_and_named() {
    if !fuse_or_skip() {
        return;
    }
    let (mut cluster, mount, data, column, _) = cluster_with_a_file();
    OpenOptions::new().write(true).open(&column).unwrap().set_len(500_000).unwrap();
    cluster.osds[0].restart();
    let file = OpenOptions::new().read(true).open(mount.join("f")).unwrap();
    let mut head = vec![0; 100_000];
    file.read_exact_at(&mut head, 0).unwrap();
    assert!(head == data[..100_000]);
    let failed = file.read_exact_at(&mut head, 700_000).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    drop(file);

    cluster.osds[0].terminate();
    fs::remove_file(&column).unwrap();
    cluster.osds[0].restart();
    let failed = fs::read(mount.join("f")).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    assert!(cluster.osds[0].log().contains(column.file_name().unwrap().to_str().unwrap()));
    let found = cluster.xtfs(&["fsck", "v", "--json"]);
    assert_eq!(found.code, 4, "{}", found.stderr);
}

#[test]
fn garbage_in_the_database_is_a_refusal_that_names_file_and_remedy() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    drop(cluster.mount("v"));
    let check = |daemon: &mut xtfs_testkit::Daemon, data: PathBuf| {
        daemon.terminate();
        for (_, path) in files_below(&data) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("MANIFEST") {
                fs::write(&path, tree::bytes(5_000, 1)).unwrap();
            }
        }
        daemon.spawn();
        assert_eq!(daemon.wait(), 1);
        let log = daemon.log();
        let last = log.lines().last().unwrap();
        assert!(last.contains(data.to_str().unwrap()), "{log}");
    };
    let data = cluster.osd_data(0);
    check(&mut cluster.osds[0], data);
    let data = cluster.base().join("mrc");
    check(&mut cluster.mrc, data);
    let data = cluster.base().join("dir");
    check(&mut cluster.dir, data);
}
