//! Files of every kind on one mount and on two.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};

use xtfs_testkit::{Cluster, fuse_or_skip, run, tree};

#[test]
fn a_tree_survives_copying_and_a_remount() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(4);
    cluster.mkfs("v", &["-s", "128k", "-w", "4"]);
    let local = tempfile::tempdir().unwrap();
    tree::make(local.path(), 300, 1);
    let mount = cluster.mount("v");
    let from = format!("{}/.", local.path().display());
    run("cp", &["-a", &from, mount.path().to_str().unwrap()]).ok();
    tree::assert_equal(local.path(), mount.path());
    mount.unmount();

    let mount = cluster.mount("v");
    tree::assert_equal(local.path(), mount.path());
    run("rm", &["-rf", mount.join("d1").to_str().unwrap()]).ok();
    assert!(!mount.join("d1").exists());
    mount.unmount();
    cluster.assert_clean("v");
}

#[test]
fn what_returned_on_one_mount_is_seen_on_the_other() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let writer = OpenOptions::new().create_new(true).write(true).open(one.join("f")).unwrap();
    let reader = File::open(two.join("f")).unwrap();
    let mut written = Vec::new();
    for round in 0..40u64 {
        // Not aligned, so that pages and stripes are written in part.
        let piece = tree::bytes(1_777, round);
        writer.write_all_at(&piece, written.len() as u64).unwrap();
        written.extend(piece);
        assert_eq!(reader.metadata().unwrap().len(), written.len() as u64);
        assert_eq!(fs::metadata(two.join("f")).unwrap().len(), written.len() as u64);
        let mut seen = vec![0; written.len()];
        reader.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen == written, "round {round}");
    }
    fs::rename(one.join("f"), one.join("g")).unwrap();
    assert!(!two.join("f").exists());
    assert_eq!(fs::read(two.join("g")).unwrap(), written);
    writer.set_len(100).unwrap();
    assert_eq!(fs::read(two.join("g")).unwrap(), written[..100]);
    fs::remove_file(two.join("g")).unwrap();
    assert!(!one.join("g").exists());
}

#[test]
fn an_open_unlinked_file_lives_until_its_last_close_through_a_restart_of_the_mrc() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let data = tree::bytes(300_000, 3);
    fs::write(one.join("f"), &data).unwrap();
    let mut open = File::open(one.join("f")).unwrap();
    fs::remove_file(two.join("f")).unwrap();
    cluster.mrc.kill9();
    cluster.mrc.restart();
    let mut seen = Vec::new();
    open.read_to_end(&mut seen).unwrap();
    assert!(seen == data);
    drop(open);
    cluster.assert_clean("v");
}

#[test]
fn truncation_and_holes_read_as_zeros() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let mount = cluster.mount("v");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(mount.join("f"))
        .unwrap();
    file.write_all(&[7; 50_000]).unwrap();
    file.set_len(10_001).unwrap();
    file.set_len(60_000).unwrap();
    file.seek(SeekFrom::Start(100_000)).unwrap();
    file.write_all(b"end").unwrap();
    let mut expected = vec![0; 100_003];
    expected[..10_001].fill(7);
    expected[100_000..].copy_from_slice(b"end");
    assert!(fs::read(mount.join("f")).unwrap() == expected);

    let sparse = File::create(mount.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.write_all_at(b"far", (1 << 40) - 3).unwrap();
    drop(sparse);
    let data = fs::metadata(mount.join("sparse")).unwrap();
    assert_eq!(data.len(), 1 << 40);
    assert!(data.blocks() * 512 < 1 << 20, "{} blocks", data.blocks());
}

#[test]
fn every_kind_of_node_and_its_metadata() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &["-m", "0755"]);
    let mount = cluster.mount("v");
    assert_eq!(fs::metadata(mount.path()).unwrap().mode() & 0o7777, 0o755);

    fs::write(mount.join("f"), b"x").unwrap();
    fs::hard_link(mount.join("f"), mount.join("g")).unwrap();
    assert_eq!(fs::metadata(mount.join("g")).unwrap().nlink(), 2);
    symlink("no/where", mount.join("s")).unwrap();
    assert_eq!(fs::read_link(mount.join("s")).unwrap().to_str(), Some("no/where"));
    run("mkfifo", &[mount.join("p")]).ok();
    fs::create_dir(mount.join("d")).unwrap();
    assert_eq!(fs::metadata(mount.path()).unwrap().nlink(), 3);
    let busy = fs::remove_dir(mount.path().join("d/..")).unwrap_err();
    assert!(busy.raw_os_error().is_some());

    let exclusive = OpenOptions::new().create_new(true).write(true).open(mount.join("f"));
    assert_eq!(exclusive.unwrap_err().raw_os_error(), Some(libc::EEXIST));
    fs::set_permissions(mount.join("f"), fs::Permissions::from_mode(0o4711)).unwrap();
    assert_eq!(fs::metadata(mount.join("g")).unwrap().mode() & 0o7777, 0o4711);

    let long = "n".repeat(255);
    fs::write(mount.join(&long), b"").unwrap();
    let longer = fs::write(mount.join("n".repeat(256)), b"").unwrap_err();
    assert_eq!(longer.raw_os_error(), Some(libc::ENAMETOOLONG));

    run("touch", &["-d", "2001-02-03 04:05:06.789", mount.join("g").to_str().unwrap()]).ok();
    let data = fs::metadata(mount.join("f")).unwrap();
    assert_eq!(data.mtime_nsec(), 789_000_000);

    let names: Vec<_> =
        fs::read_dir(mount.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
}

#[test]
fn times_that_were_set_stay_until_the_next_write() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-w", "2"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let file = File::create(one.join("f")).unwrap();
    file.write_all_at(&[1; 300_000], 0).unwrap();
    let past = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    file.set_modified(past).unwrap();
    assert_eq!(fs::metadata(two.join("f")).unwrap().modified().unwrap(), past);
    file.write_all_at(b"more", 0).unwrap();
    assert!(fs::metadata(two.join("f")).unwrap().modified().unwrap() > past);
    file.set_modified(past).unwrap();
    drop(file);
    assert_eq!(fs::metadata(two.join("f")).unwrap().modified().unwrap(), past);
}

#[test]
fn appending_and_direct_and_synchronous_writes() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-w", "2", "-s", "4k"]);
    let mount = cluster.mount_with("v", &["-o", "direct_io"]);
    let mut log = OpenOptions::new().create(true).append(true).open(mount.join("log")).unwrap();
    let mut other = OpenOptions::new().append(true).open(mount.join("log")).unwrap();
    for line in 0..50 {
        writeln!(log, "a{line}").unwrap();
        writeln!(other, "b{line}").unwrap();
    }
    let text = fs::read_to_string(mount.join("log")).unwrap();
    assert_eq!(text.lines().count(), 100);
    let synced = OpenOptions::new()
        .create(true)
        .write(true)
        .custom_flags(libc::O_SYNC)
        .open(mount.join("s"));
    synced.unwrap().write_all_at(&[5; 9_000], 3).unwrap();
    assert_eq!(fs::metadata(mount.join("s")).unwrap().len(), 9_003);
}

#[test]
fn columns_are_dealt_evenly() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(4);
    cluster.mkfs("v", &["-s", "128k", "-w", "4"]);
    let mount = cluster.mount("v");
    let path = mount.join("big");
    fs::write(&path, tree::bytes(8 << 20, 5)).unwrap();
    let shown =
        run(xtfs_testkit::program("xtfs"), &["where", path.to_str().unwrap(), "--json"]).json();
    let columns = shown["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 4);
    assert!(columns.iter().all(|column| column["bytes"] == 2 << 20), "{shown}");
    let osds: std::collections::BTreeSet<_> =
        columns.iter().map(|column| column["replicas"][0]["osd"].to_string()).collect();
    assert_eq!(osds.len(), 4);
}

#[test]
fn a_subdirectory_is_mounted_by_itself_and_read_only_refuses_changes() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let all = cluster.mount("v");
    fs::create_dir_all(all.join("a/b")).unwrap();
    fs::write(all.join("a/b/f"), b"deep").unwrap();
    let part = cluster.mount("v/a/b");
    assert_eq!(fs::read(part.join("f")).unwrap(), b"deep");
    let fixed = cluster.mount_with("v", &["-o", "ro"]);
    assert_eq!(fs::read(fixed.join("a/b/f")).unwrap(), b"deep");
    let refused = fs::write(fixed.join("x"), b"").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
}
