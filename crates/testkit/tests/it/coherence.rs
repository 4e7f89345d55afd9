//! Several mounts with caches: what one has changed the others see at once, and none stops another. Longer runs: `cargo
//! xtask campaign coherence` and `crowd`.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use xtfs_testkit::campaign::coherence::{Crowd, Rounds, crowd, rounds};
use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::{Cluster, Mount, fuse_or_skip};

const UNDISTURBED: Disturbance = Disturbance::None;

#[test]
fn nothing_stale_is_seen_on_two_mounts() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 2, rounds: 500, seed: 1, disturbance: UNDISTURBED });
    }
}

#[test]
fn nothing_stale_is_seen_on_three_mounts() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 3, rounds: 500, seed: 2, disturbance: UNDISTURBED });
    }
}

#[test]
fn nothing_stale_is_seen_while_services_are_killed() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 2, rounds: 300, seed: 3, disturbance: Disturbance::Every(300) });
    }
}

/// A process that has a file open, and prints what is in it when it gets a line.
/// Somebody else has the file open and writes it: nothing of it is kept, but by the kernel, which goes by size and mtime.
#[test]
fn a_change_of_a_file_does_not_make_old_pages_current() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let change = |name: &str, file: &File| match name {
        "chmod" => file.set_permissions(Permissions::from_mode(0o600)),
        "utimes" => file.set_modified(SystemTime::UNIX_EPOCH),
        "truncate to the same size" => file.set_len(320),
        "write and truncate" => file.write_all_at(b"more", 320).and_then(|()| file.set_len(324)),
        _ => Ok(()),
    };
    for name in ["nothing", "chmod", "utimes", "truncate to the same size", "write and truncate"] {
        let written = File::create(one.join(name)).unwrap();
        written.write_all_at(&[1; 320], 0).unwrap();
        let read = File::options().read(true).write(true).open(two.join(name)).unwrap();
        let mut seen = [0; 320];
        for _ in 0..2 {
            read.read_exact_at(&mut seen, 0).unwrap();
            assert_eq!(seen, [1; 320], "{name}");
        }
        written.write_all_at(&[2; 320], 0).unwrap();
        change(name, &read).unwrap();
        read.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen, [2; 320], "{name}");
    }
}

fn holder(path: &Path) -> Child {
    let script = r#"exec 3<"$1" && echo open && read -r line && cat <&3"#;
    let mut command = Command::new("bash");
    command.args(["-c".as_ref(), script.as_ref(), "bash".as_ref(), path.as_os_str()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut open = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut open).unwrap();
    child
}

#[test]
fn mounts_that_read_under_leases_do_not_wait_for_each_other_after_a_restart_of_the_mrc() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mounts = [0, 1, 2].map(|_| cluster.mount("v"));
    fs::write(mounts[0].join("f"), b"content").unwrap();
    let holders = mounts.each_ref().map(|mount| {
        // From now on it is opened without asking.
        for _ in 0..3 {
            assert_eq!(fs::read(mount.join("f")).unwrap(), b"content");
        }
        holder(&mount.join("f"))
    });
    cluster.mrc.kill9();
    cluster.mrc.restart();
    fs::write(mounts[1].join("g"), b"new").unwrap();
    fs::remove_file(mounts[2].join("f")).unwrap();
    for mount in &mounts {
        assert_eq!(fs::read(mount.join("g")).unwrap(), b"new");
        assert!(!mount.join("f").exists());
    }
    // No session was lost over it, nor what was open.
    for mut holder in holders {
        holder.stdin.take().unwrap().write_all(b"\n").unwrap();
        let ended = holder.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), &b"content"[..]));
    }
    mounts.into_iter().for_each(Mount::unmount);
    cluster.assert_clean("v");
}

#[test]
fn clients_in_one_directory_do_not_stop_each_other() {
    if fuse_or_skip() {
        for clients in [1, 2, 4, 8] {
            let plan = Crowd {
                clients,
                operations_each: 400,
                time: Duration::ZERO,
                seed: 10,
                disturbance: UNDISTURBED,
            };
            println!("{}", crowd(plan));
        }
    }
}

#[test]
fn clients_in_one_directory_go_on_when_services_are_killed() {
    if fuse_or_skip() {
        let plan = Crowd {
            clients: 3,
            operations_each: 600,
            time: Duration::ZERO,
            seed: 20,
            disturbance: Disturbance::Once,
        };
        println!("{}", crowd(plan));
    }
}
