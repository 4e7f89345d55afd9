//! A service that stays away: an error within the deadline on what needs it, nothing else, and all is well again when
//! it is back.

use std::fs;

use xtfs_testkit::{Cluster, eventually, fuse_or_skip, program, run, tree};

#[test]
fn files_of_a_lost_osd_fail_with_eio_and_come_back() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(2);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount_with("v", &["-o", "timeo=2s"]);
    let data = tree::bytes(400_000, 4);
    let lost_data = cluster.osd_data(1);
    let lies_on_lost = |number: usize| {
        let path = mount.join(format!("f{number}"));
        let shown = run(program("xtfs"), &["where", path.to_str().unwrap(), "--json"]).json();
        let osd = shown["columns"][0]["replicas"][0]["osd"].clone();
        let listed = cluster.xtfs(&["osd", "ls", "--json"]).json();
        let row = listed["osds"].as_array().unwrap().iter().find(|row| row["id"] == osd).cloned();
        row.unwrap()["path"].as_str() == lost_data.to_str()
    };
    // At first the MRC may know of one OSD only.
    let mut on_lost = Vec::new();
    eventually("files lie on both OSDs", || {
        let number = on_lost.len();
        fs::write(mount.join(format!("f{number}")), &data).unwrap();
        on_lost.push(lies_on_lost(number));
        on_lost.contains(&true) && on_lost.contains(&false)
    });

    cluster.osds[1].kill9();
    for (number, lost) in on_lost.iter().enumerate() {
        let read = fs::read(mount.join(format!("f{number}")));
        match lost {
            true => assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO), "f{number}"),
            false => assert!(read.unwrap() == data, "f{number}"),
        }
    }
    let mut said = String::new();
    eventually("status tells of the loss", || {
        let ran = cluster.xtfs(&["status"]);
        said = ran.stdout;
        ran.code == 2
    });
    assert!(said.contains(lost_data.to_str().unwrap()), "{said}");
    // New files go elsewhere; one that was made before the MRC heard of it stays where it is.
    let mut made = 0;
    eventually("placement knows", || {
        made += 1;
        fs::write(mount.join(format!("new{made}")), b"new").is_ok()
    });

    cluster.osds[1].restart();
    for number in 0..on_lost.len() {
        let path = mount.join(format!("f{number}"));
        eventually("the data is back", || fs::read(&path).is_ok_and(|read| read == data));
    }
    eventually("all is well", || cluster.xtfs(&["status"]).code == 0);
}

#[test]
fn with_the_dir_gone_a_working_mount_goes_on() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    // The MRC knows of the OSD from then on.
    fs::write(mount.join("before"), b"x").unwrap();
    cluster.dir.kill9();
    fs::write(mount.join("f"), b"still here").unwrap();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"still here");
    assert_eq!(cluster.xtfs(&["status", "--timeout", "2s"]).code, 3);
}

#[test]
fn a_lost_mrc_is_eio_within_the_deadline() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount_with("v", &["-o", "timeo=2s"]);
    fs::write(mount.join("f"), b"x").unwrap();
    cluster.mrc.kill9();
    let failed = fs::write(mount.join("new"), b"x").unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    eventually("what is kept can be relied on only while the session lasts", || {
        fs::metadata(mount.join("f")).is_err_and(|err| err.raw_os_error() == Some(libc::EIO))
    });
    eventually("status tells of the loss", || cluster.xtfs(&["status"]).code == 2);
    cluster.mrc.restart();
    eventually("it is back", || fs::read(mount.join("f")).is_ok_and(|read| read == b"x"));
}
