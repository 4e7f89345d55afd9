//! File handles, by which NFS servers know files: they outlive mounts and services, and nobody else gets one again.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use xtfs_testkit::handle::Handle;
use xtfs_testkit::{Cluster, Mount, fuse_or_skip};

fn open(mount: &Mount, handle: &Handle) -> std::io::Result<File> {
    handle.open(&File::open(mount.path()).unwrap(), libc::O_RDONLY)
}

fn content(mount: &Mount, handle: &Handle) -> Vec<u8> {
    let mut content = Vec::new();
    open(mount, handle).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// Where the kernel believes it to be, by looking up ".." until it reaches the root.
fn place(file: &File) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

#[track_caller]
fn is_stale(mount: &Mount, handle: &Handle) {
    let refused = open(mount, handle).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ESTALE));
}

#[test]
fn handles_outlive_renames_remounts_and_restarts() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::create_dir_all(mount.join("a/b/c")).unwrap();
    fs::write(mount.join("a/b/c/f"), b"content").unwrap();
    let handle = |name: &str| Handle::of(&mount.join(name)).unwrap();
    let (root, folder, file) = (handle("."), handle("a/b/c"), handle("a/b/c/f"));
    assert_eq!(content(&mount, &file), b"content");
    fs::rename(mount.join("a/b/c/f"), mount.join("g")).unwrap();
    assert_eq!(handle("g"), file);
    fs::rename(mount.join("a/b"), mount.join("moved")).unwrap();
    mount.unmount();

    for kill in [false, true] {
        if kill {
            cluster.mrc.kill9();
            cluster.mrc.restart();
        }
        // The kernel knows nothing of the files yet.
        let mount = cluster.mount("v");
        assert_eq!(content(&mount, &file), b"content");
        let opened = open(&mount, &folder).unwrap();
        assert_eq!(place(&opened), mount.join("moved/c"));
        assert_eq!(opened.metadata().unwrap().ino(), fs::metadata(place(&opened)).unwrap().ino());
        assert_eq!(place(&open(&mount, &root).unwrap()), mount.path());
        assert_eq!(Handle::of(&mount.join("g")).unwrap(), file);
        drop(opened);
        mount.unmount();
    }
}

#[test]
fn a_handle_of_what_was_removed_is_stale_for_ever() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let (mount, other) = (cluster.mount("v"), cluster.mount("v"));
    fs::create_dir(mount.join("d")).unwrap();
    fs::write(mount.join("f"), b"1").unwrap();
    let [folder, file] = ["d", "f"].map(|name| Handle::of(&mount.join(name)).unwrap());
    // Held open it lives on.
    let held = File::open(mount.join("f")).unwrap();
    fs::remove_dir(other.join("d")).unwrap();
    fs::remove_file(other.join("f")).unwrap();
    assert_eq!(content(&mount, &file), b"1");
    drop(held);
    is_stale(&mount, &folder);
    is_stale(&other, &folder);
    // Numbers are not used again, not by a new file of the same name and not after a restart.
    fs::create_dir(mount.join("d")).unwrap();
    fs::write(mount.join("f"), b"2").unwrap();
    cluster.mrc.kill9();
    cluster.mrc.restart();
    for number in 0..20 {
        fs::write(mount.join(format!("f{number}")), b"3").unwrap();
    }
    mount.unmount();
    let mount = cluster.mount("v");
    is_stale(&mount, &file);
    is_stale(&mount, &folder);
    let refused = fs::read_dir(mount.path()).unwrap().all(|entry| {
        let handle = Handle::of(&entry.unwrap().path()).unwrap();
        handle != file && handle != folder
    });
    assert!(refused);
}
