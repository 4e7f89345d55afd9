//! Who may do what: modes, ACLs, set-ids, sticky directories, extended attributes, policies of a volume.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use xtfs_testkit::{Cluster, Mount, Ran, fuse_or_skip, run};

const ALICE: u32 = 1001;
const BOB: u32 = 1002;
/// A group.
const STAFF: u32 = 2001;

/// A shell command of a user who is in one group, or in `STAFF` as well.
fn shell(uid: u32, staff: bool, folder: &Path, command: &str) -> Ran {
    let user = format!("--reuid={uid}");
    let group = format!("--regid={uid}");
    let groups = if staff { format!("--groups={STAFF}") } else { "--clear-groups".into() };
    let script = format!("cd '{}' && {command}", folder.display());
    run("setpriv", &[user.as_str(), &group, &groups, "sh", "-c", &script])
}

#[track_caller]
fn may(uid: u32, folder: &Path, command: &str) -> String {
    shell(uid, false, folder, command).ok()
}

/// Refused, with this on stderr.
#[track_caller]
fn may_not(uid: u32, folder: &Path, command: &str, with: &str) {
    let ran = shell(uid, false, folder, command);
    assert!(ran.code != 0 && ran.stderr.contains(with), "{command}: {ran:?}");
}

#[track_caller]
fn setfacl(args: &[&str], path: &Path) {
    let mut all = args.to_vec();
    all.push(path.to_str().unwrap());
    run("setfacl", &all).ok();
}

/// Entries, without comments and empty lines.
#[track_caller]
fn getfacl(path: &Path) -> Vec<String> {
    let shown = run("getfacl", &["-cpnE", path.to_str().unwrap()]).ok();
    shown.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A cluster with a volume that everybody may write to, on one mount, below a path that everybody may pass.
fn world() -> Option<(Cluster, Mount)> {
    if !fuse_or_skip() {
        return None;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &["-m", "0777"]);
    let mount = open_to_all(cluster.mount("v"));
    Some((cluster, mount))
}

fn open_to_all(mount: Mount) -> Mount {
    set_mode(mount.path().parent().unwrap(), 0o755);
    mount
}

fn written(path: PathBuf, mode: u32) -> PathBuf {
    fs::write(&path, b"data\n").unwrap();
    set_mode(&path, mode);
    path
}

#[test]
fn lists_are_set_and_shown_on_every_mount() {
    let Some((cluster, one)) = world() else { return };
    let two = open_to_all(cluster.mount("v"));
    let file = written(one.join("f"), 0o640);
    setfacl(&["-m", "u:1001:rw,g:2001:r"], &file);
    let shown =
        ["user::rw-", "user:1001:rw-", "group::r--", "group:2001:r--", "mask::rw-", "other::---"];
    for path in [&file, &two.join("f")] {
        assert_eq!(getfacl(path), shown);
        assert_eq!(mode(path), 0o660, "the mask");
    }
    may(ALICE, two.path(), "cat f && echo more >> f");
    may_not(BOB, two.path(), "cat f", "Permission denied");
    shell(BOB, true, two.path(), "cat f").ok();
    assert!(shell(BOB, true, two.path(), "echo x >> f").code != 0);

    set_mode(two.join("f"), 0o640);
    assert_eq!(getfacl(&file)[4], "mask::r--", "chmod changes the mask");
    may(ALICE, one.path(), "cat f");
    may_not(ALICE, one.path(), "echo x >> f", "Permission denied");
    setfacl(&["-x", "u:1001"], &file);
    may_not(ALICE, two.path(), "cat f", "Permission denied");
    setfacl(&["-b"], &two.join("f"));
    assert_eq!(getfacl(&file), ["user::rw-", "group::r--", "other::---"]);
    may_not(ALICE, one.path(), "setfacl -m u:1001:rw f", "not permitted");
    symlink("f", one.join("l")).unwrap();
    assert!(run("setfacl", &["-d", "-m", "u:1001:r", file.to_str().unwrap()]).code != 0);
}

#[test]
fn a_list_on_a_directory_opens_and_closes_it() {
    let Some((_cluster, mount)) = world() else { return };
    let dir = mount.join("d");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    written(dir.join("f"), 0o644);
    may_not(ALICE, mount.path(), "ls d", "Permission denied");
    may_not(ALICE, mount.path(), "cat d/f", "Permission denied");
    setfacl(&["-m", "u:1001:rwx"], &dir);
    may(ALICE, mount.path(), "ls d && cat d/f && touch d/g && mv d/g d/h && ln d/h d/i && rm d/f");
    may_not(BOB, mount.path(), "ls d", "Permission denied");
    setfacl(&["-m", "m:x"], &dir);
    may(ALICE, mount.path(), "cat d/h && cd d");
    may_not(ALICE, mount.path(), "ls d", "Permission denied");
    may_not(ALICE, mount.path(), "rm -f d/h", "Permission denied");
    setfacl(&["-m", "u:1001:0,m:rwx,o:rx"], &dir);
    may_not(ALICE, mount.path(), "cat d/h", "Permission denied");
    may(BOB, mount.path(), "ls d");
}

#[test]
fn a_default_list_is_inherited_whatever_the_umask() {
    let Some((cluster, mount)) = world() else { return };
    let two = open_to_all(cluster.mount("v"));
    let dir = mount.join("d");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o777);
    setfacl(&["-d", "-m", "u::rwx,u:1001:rwx,g::rx,o::-"], &dir);
    may(BOB, &dir, "umask 077 && echo x > f && mkdir sub && touch sub/g && mkfifo p");
    let named = ["user:1001:rwx", "group::r-x"];
    let default = |prefix: &str| {
        ["user::rwx", "user:1001:rwx", "group::r-x", "mask::rwx", "other::---"]
            .map(|entry| format!("{prefix}{entry}"))
    };
    assert_eq!(
        getfacl(&dir.join("f")),
        ["user::rw-", named[0], named[1], "mask::rw-", "other::---"]
    );
    assert_eq!((mode(dir.join("f")), mode(dir.join("p"))), (0o660, 0o660));
    let sub = [default("").as_slice(), default("default:").as_slice()].concat();
    assert_eq!(getfacl(&two.join("d/sub")), sub);
    assert_eq!(getfacl(&two.join("d/sub/g"))[1], named[0]);
    may(ALICE, two.path(), "cat d/f && echo y >> d/f && touch d/sub/mine");
    setfacl(&["-k"], &dir);
    may(BOB, &dir, "umask 027 && touch plain");
    assert_eq!(getfacl(&dir.join("plain")), ["user::rw-", "group::r--", "other::---"]);
    let folder =
        |umask: &str, name: &str| may(BOB, &dir, &format!("umask {umask} && mkdir {name}"));
    folder("022", "a");
    folder("0", "b");
    assert_eq!((mode(dir.join("a")), mode(dir.join("b"))), (0o755, 0o777));
}

#[test]
fn copies_keep_lists_and_attributes() {
    let Some((_cluster, mount)) = world() else { return };
    let from = mount.join("from");
    fs::create_dir(&from).unwrap();
    let file = written(from.join("f"), 0o640);
    setfacl(&["-m", "u:1001:rw"], &file);
    setfacl(&["-m", "g:2001:rwx,d:u:1001:r"], &from);
    run("setfattr", &["-n", "user.colour", "-v", "red", file.to_str().unwrap()]).ok();
    let local = tempfile::tempdir().unwrap();
    let (there, back) = (local.path().display().to_string(), mount.path().display().to_string());
    let script = format!(
        "set -e; cp -a {back}/from {back}/copy; rsync -aAX {back}/from/ {back}/synced/
        tar --xattrs --acls -C {back} -cf {there}/t.tar from
        mkdir {back}/unpacked; tar --xattrs --xattrs-include='*' --acls -C {back}/unpacked -xf {there}/t.tar"
    );
    run("sh", &["-c", &script]).ok();
    for copy in ["copy", "synced", "unpacked/from"] {
        assert_eq!(getfacl(&mount.join(copy)), getfacl(&from), "{copy}");
        let copied = mount.join(copy).join("f");
        assert_eq!(getfacl(&copied), getfacl(&file), "{copy}");
        let shown =
            run("getfattr", &["--only-values", "-n", "user.colour", copied.to_str().unwrap()]);
        assert_eq!(shown.ok(), "red");
    }
}

#[test]
fn special_files_are_guarded_as_well() {
    let Some((_cluster, mount)) = world() else { return };
    run("mkfifo", &["-m", "600", mount.join("p").to_str().unwrap()]).ok();
    may_not(ALICE, mount.path(), "timeout 5 cat p", "Permission denied");
    setfacl(&["-m", "u:1001:r"], &mount.join("p"));
    may(ALICE, mount.path(), "timeout 5 dd if=p iflag=nonblock of=/dev/null 2>/dev/null");
    may_not(
        ALICE,
        mount.path(),
        "timeout 5 dd of=p oflag=nonblock < /dev/null",
        "Permission denied",
    );
    may_not(ALICE, mount.path(), "mknod c c 1 3", "not permitted");
    may_not(ALICE, mount.path(), "mknod p c 1 3", "exists");
    may(ALICE, mount.path(), "mknod white c 0 0 && rm white");
    may(ALICE, mount.path(), "mkfifo own");
}

#[test]
fn a_program_needs_no_right_to_read_to_be_run() {
    let Some((_cluster, mount)) = world() else { return };
    fs::copy("/bin/true", mount.join("t")).unwrap();
    for bits in [0o711, 0o4111] {
        set_mode(mount.join("t"), bits);
        may(ALICE, mount.path(), "./t");
        may_not(ALICE, mount.path(), "cat t", "Permission denied");
    }
    set_mode(mount.join("t"), 0o700);
    may_not(ALICE, mount.path(), "./t", "Permission denied");
}

#[test]
fn set_ids_that_another_mount_set_go_with_the_next_write() {
    let Some((cluster, one)) = world() else { return };
    let two = open_to_all(cluster.mount("v"));
    let path = written(one.join("f"), 0o666);
    let commands = [
        "exec 3>>f; { read x; echo payload >&3; }",
        "exec 3<>f; echo first >&3; { read x; echo payload >&3; }",
        "exec 3<>f; { read x; fallocate -l 9000 /dev/fd/3; }",
    ];
    for command in commands {
        set_mode(&path, 0o666);
        // The shell has opened the file when it says so, and writes when it is told.
        let (ready, go) = (one.join("ready"), one.join("go"));
        for pipe in [&ready, &go] {
            run("mkfifo", &["-m", "666", pipe.to_str().unwrap()]).ok();
        }
        let (open, write) = command.split_once("{ read x;").unwrap();
        let script = format!("{open} echo > ready; read x < go; {}", write.replace('}', ""));
        let folder = one.path().to_owned();
        let writer = std::thread::spawn(move || shell(ALICE, false, &folder, &script));
        fs::read(&ready).unwrap();
        set_mode(two.join("f"), 0o4777);
        fs::write(&go, b"x\n").unwrap();
        writer.join().unwrap().ok();
        assert_eq!(mode(two.join("f")), 0o777, "{command}");
        for pipe in [&ready, &go] {
            fs::remove_file(pipe).unwrap();
        }
    }
    assert!(fs::read_to_string(&path).unwrap().contains("payload"));
}

#[test]
fn an_open_directory_is_listed_whatever_becomes_of_its_mode() {
    let Some((cluster, mount)) = world() else { return };
    may(ALICE, mount.path(), "mkdir d && touch d/f");
    let list =
        "import os; fd = os.open('d', os.O_RDONLY); os.chmod('d', 0o300); print(os.listdir(fd))";
    assert_eq!(may(ALICE, mount.path(), &format!("python3 -c \"{list}\"")).trim(), "['f']");
    may_not(ALICE, mount.path(), "ls d", "Permission denied");
    cluster.xtfs(&["volume", "set", "v", "root_squash=true"]).ok();
    assert!(fs::read_dir(mount.join("d")).is_err(), "nor may nobody");
}

#[test]
fn set_ids_go_when_another_writes_cuts_or_owns() {
    let Some((_cluster, mount)) = world() else { return };
    let path = mount.join("f");
    let fresh = |bits: u32| {
        let _ = fs::remove_file(&path);
        fs::write(&path, b"#!/bin/sh\n").unwrap();
        chown(&path, Some(ALICE), Some(ALICE)).unwrap();
        set_mode(&path, bits);
    };
    for command in ["echo x >> f", "truncate -s 3 f", ": > f", "chgrp 1001 f"] {
        fresh(0o6777);
        may(ALICE, mount.path(), command);
        assert_eq!(mode(&path), 0o777, "{command}");
    }
    fresh(0o6777);
    may(BOB, mount.path(), "echo x >> f");
    assert_eq!(mode(&path), 0o777, "not the owner");
    fresh(0o6767);
    may(BOB, mount.path(), "echo x >> f");
    assert_eq!(mode(&path), 0o767, "not in the group");
    fresh(0o6767);
    may(ALICE, mount.path(), "echo x >> f");
    assert_eq!(mode(&path), 0o2767, "sgid without execution is no set-group-id");
    fresh(0o6777);
    chown(&path, Some(BOB), None).unwrap();
    assert_eq!(mode(&path), 0o777, "also by root");
    fresh(0o6777);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"root").unwrap();
    assert_eq!(mode(&path), 0o6777, "root may keep them");
    fresh(0o777);
    chown(&path, Some(ALICE), Some(STAFF)).unwrap();
    may(ALICE, mount.path(), "chmod 2755 f");
    assert_eq!(mode(&path), 0o755, "not in that group");
    shell(ALICE, true, mount.path(), "chmod 2755 f").ok();
    assert_eq!(mode(&path), 0o2755);
}

#[test]
fn a_set_group_id_directory_hands_its_group_down() {
    let Some((_cluster, mount)) = world() else { return };
    let dir = mount.join("d");
    fs::create_dir(&dir).unwrap();
    chown(&dir, None, Some(STAFF)).unwrap();
    set_mode(&dir, 0o2777);
    may(ALICE, &dir, "touch f && mkdir sub && ln -s f l && mkfifo p");
    for name in ["f", "sub", "l", "p"] {
        let data = fs::symlink_metadata(dir.join(name)).unwrap();
        assert_eq!((data.uid(), data.gid()), (ALICE, STAFF), "{name}");
    }
    assert_eq!(mode(dir.join("sub")) & 0o2000, 0o2000);
    assert_eq!(mode(dir.join("f")) & 0o2000, 0);
}

#[test]
fn a_sticky_directory_keeps_entries_for_their_owners() {
    let Some((_cluster, mount)) = world() else { return };
    let tmp = mount.join("tmp");
    fs::create_dir(&tmp).unwrap();
    set_mode(&tmp, 0o1777);
    may(ALICE, &tmp, "touch a b && chmod 666 a b");
    may_not(BOB, &tmp, "rm -f a", "not permitted");
    may_not(BOB, &tmp, "mv a c", "not permitted");
    may_not(BOB, &tmp, "touch own && mv own a", "not permitted");
    setfacl(&["-m", "u:1002:rwx"], &tmp);
    may_not(BOB, &tmp, "rm -f a", "not permitted");
    may(ALICE, &tmp, "mv a c && rm c");
    fs::remove_file(tmp.join("b")).unwrap();
}

#[test]
fn attributes_have_their_spaces_and_bounds() {
    let Some((_cluster, mount)) = world() else { return };
    let file = written(mount.join("f"), 0o644);
    chown(&file, Some(ALICE), Some(ALICE)).unwrap();
    let path = file.to_str().unwrap();
    for name in ["trusted.t", "security.s", "user.u"] {
        run("setfattr", &["-n", name, "-v", "v", path]).ok();
    }
    let list = "getfattr --absolute-names -m - f | grep -v '^#' | sort | tr '\\n' ' '";
    let listed = run("sh", &["-c", &format!("cd {} && {list}", mount.path().display())]).ok();
    assert_eq!(listed.trim(), "security.s trusted.t user.u");
    assert_eq!(may(ALICE, mount.path(), list).trim(), "security.s user.u");
    may_not(ALICE, mount.path(), "getfattr -n trusted.t f", "No such attribute");
    may_not(ALICE, mount.path(), "setfattr -n trusted.t -v w f", "not permitted");
    may_not(BOB, mount.path(), "setfattr -n user.u -v w f", "Permission denied");
    may(ALICE, mount.path(), "setfattr -n user.u -v w f");

    run("mkfifo", &[mount.join("p")]).ok();
    symlink("f", mount.join("l")).unwrap();
    for name in ["p", "l"] {
        let at = mount.join(name);
        let refused = run("setfattr", &["-h", "-n", "user.u", "-v", "v", at.to_str().unwrap()]);
        assert!(refused.stderr.contains("not permitted"), "{name}: {refused:?}");
    }
    let tmp = mount.join("tmp");
    fs::create_dir(&tmp).unwrap();
    set_mode(&tmp, 0o1777);
    may_not(ALICE, mount.path(), "setfattr -n user.u -v v tmp", "not permitted");

    let largest = vec![b'x'; 64 << 10];
    rustix::fs::setxattr(&file, "user.large", &largest, rustix::fs::XattrFlags::empty()).unwrap();
    let mut seen = vec![0; 64 << 10];
    let len = rustix::fs::getxattr(&file, "user.large", &mut seen).unwrap();
    assert!(len == largest.len() && seen == largest);
    let longer = vec![b'x'; (64 << 10) + 1];
    let refused = rustix::fs::setxattr(&file, "user.l", &longer, rustix::fs::XattrFlags::empty());
    assert!(refused.is_err());
    for count in 0..400 {
        let name = format!("user.{count:0>100}");
        rustix::fs::setxattr(&file, &*name, b"v", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::listxattr(&file, &mut names).unwrap();
    assert_eq!(names[..len].iter().filter(|byte| **byte == 0).count(), 400 + 4);
}

#[test]
fn a_volume_that_squashes_root_takes_it_for_nobody() {
    let Some((cluster, mount)) = world() else { return };
    let private = mount.join("private");
    fs::create_dir(&private).unwrap();
    set_mode(&private, 0o700);
    let file = written(mount.join("f"), 0o600);
    chown(&file, Some(ALICE), Some(ALICE)).unwrap();
    let mut held = File::open(&file).unwrap();
    cluster.xtfs(&["volume", "set", "v", "root_squash=true"]).ok();
    let refused = |error: std::io::Error, errno: i32| assert_eq!(error.raw_os_error(), Some(errno));
    refused(fs::read(&file).unwrap_err(), libc::EACCES);
    refused(fs::write(&file, b"x").unwrap_err(), libc::EACCES);
    refused(fs::write(private.join("x"), b"x").unwrap_err(), libc::EACCES);
    refused(fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap_err(), libc::EPERM);
    refused(chown(&file, Some(0), None).unwrap_err(), libc::EPERM);
    assert!(run("setfacl", &["-m", "u:0:rw", file.to_str().unwrap()]).code != 0);
    std::io::copy(&mut held, &mut std::io::sink()).unwrap();
    fs::write(mount.join("mine"), b"x").unwrap();
    let made = fs::metadata(mount.join("mine")).unwrap();
    assert_eq!((made.uid(), made.gid()), (65534, 65534));
    assert!(run("mknod", &[mount.join("c").to_str().unwrap(), "c", "1", "3"]).code != 0);
    may(ALICE, mount.path(), "cat f && echo y >> f");
    may(ALICE, mount.path(), "echo x > s && chmod 4777 s");
    OpenOptions::new().append(true).open(mount.join("s")).unwrap().write_all(b"nobody").unwrap();
    assert_eq!(mode(mount.join("s")), 0o777, "who is nobody leaves no suid");
    cluster.xtfs(&["volume", "set", "v", "root_squash=false"]).ok();
    assert_eq!(fs::read(&file).unwrap(), b"data\ny\n");
}

#[test]
fn a_read_only_handle_stays_one_and_modes_bind_when_opening() {
    let Some((_cluster, mount)) = world() else { return };
    let path = written(mount.join("f"), 0o644);
    chown(&path, Some(ALICE), Some(ALICE)).unwrap();
    // Opened while it was allowed: the handle goes on.
    may(ALICE, mount.path(), "exec 3<>f; chmod 000 f; echo more >&3; cat <&3; chmod 644 f");
    may_not(BOB, mount.path(), "echo x >> f", "Permission denied");
    may_not(BOB, mount.path(), "chmod 666 f", "not permitted");
    may_not(BOB, mount.path(), "chown 1002 f", "not permitted");
    may_not(ALICE, mount.path(), "chown 1002 f", "not permitted");
    let set_times = "python3 -c \"import os; os.utime('f', (1, 1))\"";
    may_not(BOB, mount.path(), set_times, "not permitted");
    let made = OpenOptions::new().write(true).create_new(true).mode(0o000).open(mount.join("n"));
    made.unwrap().write_all(b"x").unwrap();
}

#[test]
fn owners_give_files_away_where_the_volume_lets_them() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &["-m", "0777"]);
    cluster.xtfs(&["volume", "set", "v", "chown_non_root=true"]).ok();
    let mount = open_to_all(cluster.mount("v"));
    may(ALICE, mount.path(), "echo x > f && chmod 4755 f && chown 1002:1002 f");
    let given = fs::metadata(mount.join("f")).unwrap();
    assert_eq!((given.uid(), given.gid(), mode(mount.join("f"))), (BOB, BOB, 0o755));
    may_not(ALICE, mount.path(), "chown 1001 f", "not permitted");
    // The MRC alone judges here.
    may(BOB, mount.path(), "chmod 600 f && mkdir -m 700 d && touch d/g");
    may_not(ALICE, mount.path(), "cat f", "Permission denied");
    may_not(ALICE, mount.path(), "ls d", "Permission denied");
    may_not(ALICE, mount.path(), "cat d/g", "Permission denied");
    may_not(ALICE, mount.path(), "cd d", "cd");
    setfacl(&["-m", "u:1001:rx"], &mount.join("d"));
    may(ALICE, mount.path(), "ls d && cat d/g");
}
