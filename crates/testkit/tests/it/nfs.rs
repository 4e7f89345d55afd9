//! A mount exported by NFS: nfs-ganesha with libnfs's programs, and a client that keeps nothing but handles.

use std::fs;

use xtfs_testkit::nfs::{NOENT, NfsClient, NfsHandle, Refusal, STALE};
use xtfs_testkit::{Cluster, Ganesha, fuse_or_skip, run, tree};

fn content(client: &mut NfsClient, file: &NfsHandle) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let piece = client.read(file, content.len() as u64, 100_000).unwrap().unwrap();
        if piece.is_empty() {
            return content;
        }
        content.extend(piece);
    }
}

#[test]
fn a_mount_is_exported_by_nfs() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
    let (mount, other) = (cluster.mount("v"), cluster.mount("v"));
    let data = tree::bytes(500_000, 3);
    fs::create_dir(mount.join("d")).unwrap();
    fs::write(mount.join("d/ours"), &data).unwrap();
    let ganesha = Ganesha::start(mount.path());

    let listed = run("nfs-ls", &[ganesha.url("d")]).ok();
    assert!(listed.contains("500000") && listed.contains("ours"), "{listed}");
    assert_eq!(run("nfs-cat", &[ganesha.url("d/ours")]).ok().len(), {
        String::from_utf8_lossy(&data).len()
    });
    fs::write(mount.join("theirs"), &data).unwrap();

    let mut client = ganesha.connect().unwrap();
    let theirs = client.look_up("xtfs/theirs").unwrap().unwrap();
    assert_eq!(client.write(&theirs, 499_998, b"more").unwrap(), Ok(4));
    let grown = [&data[..499_998], b"more"].concat();
    assert!(fs::read(other.join("theirs")).unwrap() == grown);
    // What another mount writes is read by the handle.
    fs::write(other.join("theirs"), b"short").unwrap();
    assert_eq!(content(&mut client, &theirs), b"short");
    drop(ganesha);
    mount.unmount();
    other.unmount();
    cluster.assert_clean("v");
}

#[test]
fn nfs_handles_outlive_renames_and_restarts_of_server_and_mrc() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::create_dir_all(mount.join("a/b")).unwrap();
    fs::create_dir(mount.join("c")).unwrap();
    for name in ["a/b/f", "a/b/gone"] {
        fs::write(mount.join(name), name).unwrap();
    }
    let mut ganesha = Ganesha::start(mount.path());
    let mut client = ganesha.connect().unwrap();
    let mut handle = |name: &str| client.look_up(&format!("xtfs/{name}")).unwrap().unwrap();
    let (from, to) = (handle("a/b"), handle("c"));
    let (file, gone) = (handle("a/b/f"), handle("a/b/gone"));
    client.rename((&from, "f"), (&to, "g")).unwrap().unwrap();
    assert_eq!(fs::read(mount.join("c/g")).unwrap(), b"a/b/f");
    assert_eq!(client.look_up("xtfs/a/b/f").unwrap(), Err(Refusal(NOENT)));
    client.remove(&from, "gone").unwrap().unwrap();
    assert!(!mount.join("a/b/gone").exists());

    for kill_mrc in [false, true] {
        ganesha.kill9();
        if kill_mrc {
            cluster.mrc.kill9();
            cluster.mrc.restart();
        }
        // The kernel forgets the inodes, so that it has to ask for them by their numbers.
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        ganesha.restart(mount.path());
        let mut client = ganesha.connect().unwrap();
        assert_eq!(content(&mut client, &file), b"a/b/f");
        assert_eq!(client.look_up("xtfs/c/g").unwrap(), Ok(file.clone()));
        assert_eq!(client.read(&gone, 0, 10).unwrap(), Err(Refusal(STALE)));
        client.rename((&to, "g"), (&from, "f")).unwrap().unwrap();
        client.rename((&from, "f"), (&to, "g")).unwrap().unwrap();
        assert_eq!(client.write(&file, 0, b"A").unwrap(), Ok(1));
        assert_eq!(fs::read(mount.join("c/g")).unwrap(), b"A/b/f");
        fs::write(mount.join("c/g"), b"a/b/f").unwrap();
    }
    drop(ganesha);
    mount.unmount();
    cluster.assert_clean("v");
}
