//! The command-line contract: exit codes, JSON, and what the tools do.

use std::fs;

use xtfs_testkit::{Cluster, fuse_or_skip, program, run, tree};

#[test]
fn volumes_are_made_listed_shown_changed_and_removed() {
    let cluster = Cluster::start(2);
    let mkfs = |args: &[&str]| {
        let spec = cluster.spec("v");
        let mut all = vec![spec.as_str()];
        all.extend(args);
        run(program("mkfs-xtfs"), &all)
    };
    cluster.mkfs("v", &["-s", "64k", "-w", "2", "-m", "0750"]);
    mkfs(&[]).refused(1, "exists");
    // Options may stand before and after the volume; other settings are a warning.
    let again = mkfs(&["--if-not-exists", "-w", "1"]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("differ"), "{}", again.stderr);

    let listed = run(program("lsfs-xtfs"), &[cluster.dir_address().as_str(), "--json"]).json();
    let volume = &listed["volumes"][0];
    assert_eq!(volume["name"], "v");
    assert_eq!(volume["stripe_size"], 64 << 10);
    assert_eq!(volume["stripe_width"], 2);
    assert_eq!(volume["files"], 0);
    let same = cluster.xtfs(&["volume", "ls", "--json"]).json();
    assert_eq!(same["volumes"][0]["id"], volume["id"]);

    cluster.xtfs(&["volume", "set", "v", "atime=noatime", "root_squash=true"]).ok();
    let shown = cluster.xtfs(&["volume", "show", "v"]).ok();
    assert!(shown.contains("noatime"), "{shown}");
    cluster.xtfs(&["volume", "set", "v", "colour=red"]).refused(1, "colour");

    let spec = cluster.spec("v");
    run(program("rmfs-xtfs"), &[spec.as_str()]).ok();
    let gone = run(program("lsfs-xtfs"), &[cluster.dir_address().as_str(), "--json"]).json();
    assert_eq!(gone["volumes"].as_array().unwrap().len(), 0);
    run(program("rmfs-xtfs"), &[spec.as_str()]).refused(1, "v");
}

#[test]
fn a_volume_with_files_is_removed_by_force_only_and_its_data_goes() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::write(mount.join("f"), tree::bytes(5 << 20, 1)).unwrap();
    mount.unmount();
    let spec = cluster.spec("v");
    run(program("rmfs-xtfs"), &[spec.as_str()]).refused(1, "--force");
    run(program("rmfs-xtfs"), &[spec.as_str(), "--force"]).ok();
    let columns = cluster.osd_data(0).join("columns");
    xtfs_testkit::eventually("the data is gone", || {
        let used = run("du", &["-sk", columns.to_str().unwrap()]).ok();
        used.split_whitespace().next().unwrap().parse::<u64>().unwrap() < 3_000
    });
}

#[test]
fn a_directory_gives_its_new_files_another_layout() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    cluster.mkfs("v", &[]);
    let mount = cluster.mount("v");
    fs::create_dir(mount.join("wide")).unwrap();
    let wide = mount.join("wide");
    let path = wide.to_str().unwrap();
    run(program("xtfsutil"), &[path, "--set-dsp", "-p", "RAID0", "-w", "3", "-s", "16"]).ok();
    let shown = run(program("xtfsutil"), &[path]).ok();
    assert!(shown.contains("16 KiB") && shown.contains('3'), "{shown}");
    fs::write(wide.join("f"), tree::bytes(100_000, 1)).unwrap();
    fs::write(mount.join("narrow"), b"x").unwrap();
    let of = |path: std::path::PathBuf| {
        run(program("xtfs"), &["where", path.to_str().unwrap(), "--json"]).json()
    };
    assert_eq!(of(wide.join("f"))["stripe_width"], 3);
    assert_eq!(of(wide.join("f"))["stripe_size"], 16 << 10);
    assert_eq!(of(mount.join("narrow"))["stripe_width"], 1);
    run(program("xtfsutil"), &[path, "--set-dsp", "-p", "RAID0", "-w", "9", "-s", "16"])
        .refused(1, "3");
}

#[test]
fn status_is_ok_when_all_is_well() {
    let cluster = Cluster::start(1);
    xtfs_testkit::eventually("health is ok", || cluster.xtfs(&["status"]).code == 0);
    let status = cluster.xtfs(&["status", "--json"]).json();
    assert_eq!(status["health"], "ok");
    let listed = cluster.xtfs(&["osd", "ls", "--json"]).json();
    let osd = &listed["osds"][0];
    assert_eq!((osd["state"].as_str(), osd["alive"].as_bool()), (Some("online"), Some(true)));
    assert!(osd["total_bytes"].as_u64() >= osd["free_bytes"].as_u64());
}

#[test]
fn everything_runs_in_one_process_on_one_port() {
    if !fuse_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("all");
    let data = data.to_str().unwrap();
    let listen = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string()
    };
    let up = run(program("xtfs"), &["up", "--data", data, "--osds", "3", "--listen", &listen]).ok();
    assert!(up.contains("mkfs.xtfs") && up.contains("mount.xtfs"), "{up}");
    let spec = format!("{listen}/v");
    run(program("mkfs-xtfs"), &[spec.as_str(), "-w", "3"]).ok();
    let point = folder.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    run(program("mount-xtfs"), &[spec.as_str(), point]).ok();
    fs::write(format!("{point}/f"), tree::bytes(2 << 20, 1)).unwrap();
    assert!(fs::read(format!("{point}/f")).unwrap() == tree::bytes(2 << 20, 1));
    run(program("umount-xtfs"), &[point]).ok();
    run(program("xtfs"), &["down", "--data", data]).ok();
    assert!(std::net::TcpStream::connect(&listen).is_err());
    run(program("xtfs"), &["down", "--data", data]).refused(1, "not running");
}
