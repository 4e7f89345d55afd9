//! What is wrong is refused with one clear line and the right exit code or errno.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use xtfs_testkit::{Cluster, Mount, fuse_or_skip, program, run, tree};

#[test]
fn mkfs_refuses_what_cannot_be() {
    let cluster = Cluster::start(2);
    cluster.mkfs("there", &[]);
    let spec = cluster.spec("v");
    let mkfs = |args: &[&str]| {
        let mut all = vec![spec.as_str()];
        all.extend(args);
        run(program("mkfs-xtfs"), &all)
    };
    for size in ["0", "1TiB", "5000", "2k"] {
        let refused = mkfs(&["-s", size]);
        assert!(refused.code == 64 || refused.code == 1, "{size}: {}", refused.code);
        assert!(refused.stderr.contains("4 KiB"), "{size}: {}", refused.stderr);
    }
    mkfs(&["-w", "3"]).refused(1, "2");
    let refused = run(program("mkfs-xtfs"), &["no-volume"]);
    assert_eq!(refused.code, 64);
    assert!(refused.stderr.contains("no-volume"), "{}", refused.stderr);
    run(program("mkfs-xtfs"), &["127.0.0.1:1/v", "--timeout", "2s"]).refused(1, "127.0.0.1:1");
    assert_eq!(run(program("mkfs-xtfs"), &["--nonsense"]).code, 64);
}

#[test]
fn mount_refuses_with_exit_codes_of_mount8() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    Mount::attempt(&cluster.spec("unknown"), &[]).1.refused(32, "unknown");
    Mount::attempt(&cluster.spec("v/no/such"), &[]).1.refused(32, "no/such");
    Mount::attempt("127.0.0.1:1/v", &["-o", "timeo=1s"]).1.refused(32, "127.0.0.1:1");
    Mount::attempt(&cluster.spec("v"), &["-o", "colour=red"]).1.refused(1, "colour");
    Mount::attempt(&cluster.spec("v"), &["-o", "tmeo=3"]).1.refused(1, "timeo");
    let spec = cluster.spec("v");
    run(program("mount-xtfs"), &[spec.as_str(), "/no/such/place"]).refused(32, "/no/such/place");
    // What mount(8) and fstab pass is accepted.
    let options = "_netdev,nofail,noatime,rw,user=root,x-systemd.automount";
    let mount = Mount::attempt(&cluster.spec("v"), &["-o", options]);
    mount.1.ok();
}

#[test]
fn random_bytes_at_a_port_hurt_nobody() {
    let cluster = Cluster::start(1);
    for daemon in [&cluster.dir, &cluster.mrc, &cluster.osds[0]] {
        for seed in 0..5 {
            let mut stream = TcpStream::connect(daemon.address()).unwrap();
            // The server may close at any byte.
            let _ = stream.write_all(&tree::bytes(10_000, seed));
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        }
    }
    cluster.mkfs("v", &[]);
    xtfs_testkit::eventually("health is ok", || cluster.xtfs(&["status"]).code == 0);
}

#[test]
fn a_port_in_use_and_foreign_data_directories_are_refused() {
    let cluster = Cluster::start(1);
    let dir = cluster.dir_address();
    let base = cluster.base();
    let path = |name: &str| base.join(name).display().to_string();
    let osd = |args: &[&str]| {
        let mut all = vec!["--dir", &dir, "--listen", "127.0.0.1:0"];
        all.extend(args);
        run(program("xtfs-osd"), &all)
    };
    let listen = cluster.dir_address();
    run(program("xtfs-dir"), &["--listen", &listen, "--data", &path("dir2")]).refused(1, &listen);

    osd(&["--data", &path("mrc")]).refused(1, &path("mrc"));
    fs::create_dir(base.join("full")).unwrap();
    fs::write(base.join("full/mine"), b"").unwrap();
    osd(&["--data", &path("full")]).refused(1, &path("full"));
    osd(&["--data", &path("no/such")]).refused(1, &path("no/such"));
    osd(&["--data", &path("osd0")]).refused(1, "in use");

    let other = Cluster::start(1);
    let mut stolen = other;
    stolen.osds[0].terminate();
    let data = stolen.osd_data(0).display().to_string();
    osd(&["--data", &data]).refused(1, "cluster");
}

#[test]
fn a_copied_data_directory_is_a_duplicate_and_refused() {
    let cluster = Cluster::start(1);
    let copy = cluster.base().join("copy");
    let own = cluster.osd_data(0);
    run("cp", &["-a", own.to_str().unwrap(), copy.to_str().unwrap()]).ok();
    let args = [
        "--dir",
        &cluster.dir_address(),
        "--listen",
        "127.0.0.1:0",
        "--data",
        copy.to_str().unwrap(),
    ];
    let refused = run(program("xtfs-osd"), &args);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains(&cluster.osds[0].address().to_string()), "{}", refused.stderr);
}

#[test]
fn a_clock_that_is_off_is_refused() {
    let cluster = Cluster::start(1);
    if run("which", &["faketime"]).code != 0 {
        assert!(std::env::var_os("XTFS_TEST_MUST_MOUNT").is_none(), "faketime is missing");
        eprintln!("SKIPPED: faketime is not installed");
        return;
    }
    let data = cluster.base().join("late");
    let args = [
        "-f",
        "+60s",
        program("xtfs-osd").to_str().unwrap(),
        "--dir",
        &cluster.dir_address(),
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]
    .map(str::to_owned);
    let refused = run("faketime", &args);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("clock"), "{}", refused.stderr);
}
