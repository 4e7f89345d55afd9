//! The programs as mount(8) and people call them, without any server: what is refused, how, and with which code.
//! Mounts that succeed are tested where there is a cluster, in the testkit.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output};

fn mount(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_mount-xtfs"), args)
}

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("XTFS_")) {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, why: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(why), "{stderr}");
    // One line, and the next step in it.
    assert_eq!((stderr.lines().count(), stderr.contains("; ")), (1, true), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_wrong_call_ends_with_1() {
    refused(&mount(&[]), 1, "mountpoint");
    refused(&mount(&["m/v", "/mnt", "-o", "timo=3"]), 1, "did you mean \"timeo\"");
    refused(&mount(&["m/v", "/mnt", "-N", "1"]), 1, "nsenter");
}

#[test]
fn a_mountpoint_that_will_not_do_ends_with_32_in_fore_and_background() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    refused(&mount(&["m/v", path(&absent)]), 32, "mkdir -p");
    refused(&mount(&["m/v", path(&absent), "-f"]), 32, "mkdir -p");
    std::fs::write(dir.path().join("file"), "").unwrap();
    refused(&mount(&["m/v", path(dir.path())]), 32, "nonempty");
}

#[test]
fn a_fake_mount_checks_and_ends_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let output = mount(&["m/v", path(dir.path()), "-sfnv", "-o", "rw,_netdev,bogus"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_dir_that_does_not_answer_is_said_to_the_caller_of_a_background_mount() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("{}/v", listener.local_addr().unwrap());
    drop(listener);
    let log = dir.path().join("log");
    let options = format!("timeo=1,nonempty,log={}", path(&log));
    let output = mount(&[&spec, path(dir.path()), "-o", &options]);
    refused(&output, 32, "cannot mount");
    assert!(log.exists());
}

#[test]
fn help_shows_an_fstab_line() {
    let output = mount(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("_netdev,nofail,x-systemd.automount"));
    let output = mount(&["--version"]);
    assert!(text(&output.stdout).starts_with("mount.xtfs "));
}

#[test]
fn what_is_not_mounted_is_not_unmounted() {
    let dir = tempfile::tempdir().unwrap();
    let umount = |args: &[&str]| run(env!("CARGO_BIN_EXE_umount-xtfs"), args);
    refused(&umount(&[path(dir.path())]), 32, "not mounted");
    refused(&umount(&["/proc", "-n", "-t", "fuse.xtfs"]), 32, "use umount");
    assert_eq!(umount(&[]).status.code(), Some(1));
}
