//! Modes, owners and times.

use std::time::Duration;

use super::*;
use crate::state::volume::Setting;

fn setting(world: &mut World, setting: Setting) {
    let settings = vec![setting];
    world.internal(Action::SetVolume(SetVolume { name: "vol".into(), settings })).unwrap();
}

#[test]
fn the_owner_changes_the_mode() {
    let mut world = World::new();
    let file = world.as_user(1, 1, |world| world.mknod(Ino::ROOT, "f").unwrap());
    let chmod = |mode| SetAttr { mode: Some(mode), ..set_of(file) };
    world.as_user(2, 2, |world| refused(world.set(chmod(0o600)), &Error::NotPermitted));
    let before = world.inode(file);
    world.as_user(1, 1, |world| world.set(chmod(0o6755)).unwrap());
    let after = world.inode(file);
    assert_eq!(after.mode, 0o6755);
    assert!(after.ctime > before.ctime && after.change > before.change);
    assert_eq!(after.mtime, before.mtime);
    world.set(SetAttr { gid: Some(9), mode: Some(0o755), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| world.set(chmod(0o6755)).unwrap());
    assert_eq!(world.inode(file).mode, 0o4755, "no sgid for a group that one is not in");
}

#[test]
fn a_change_of_owner_clears_set_ids() {
    let mut world = World::new();
    let file = world.as_user(1, 1, |world| world.mknod(Ino::ROOT, "f").unwrap());
    world.set(SetAttr { mode: Some(0o6755), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| world.set(SetAttr { gid: Some(1), ..set_of(file) }).unwrap());
    assert_eq!(world.inode(file).mode, 0o755);
    world.as_user(1, 1, |world| {
        refused(world.set(SetAttr { uid: Some(2), ..set_of(file) }), &Error::NotPermitted);
    });
    setting(&mut world, Setting::ChownNonRoot(true));
    world.as_user(1, 1, |world| {
        let give = SetAttr { uid: Some(2), mode: Some(0o4755), ..set_of(file) };
        world.set(give).unwrap();
    });
    let given = world.inode(file);
    assert_eq!((given.uid, given.mode), (2, 0o755), "nobody gives a set-id program away");
}

#[test]
fn a_write_by_another_clears_set_ids() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    world.set(SetAttr { mode: Some(0o6777), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| world.truncate(file, 5).unwrap());
    assert_eq!(world.inode(file).mode, 0o777);
    world.set(SetAttr { mode: Some(0o6777), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| {
        world.set(SetAttr { kill_set_ids: true, ..set_of(file) }).unwrap();
    });
    assert_eq!(world.inode(file).mode, 0o777);
}

#[test]
fn only_who_may_write_a_file_strips_it() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o755).unwrap();
    world.set(SetAttr { mode: Some(0o4755), ..set_of(file) }).unwrap();
    let kill = |ino| SetAttr { kill_set_ids: true, ..set_of(ino) };
    let by_handle = |ino| SetAttr { by_handle: true, ..kill(ino) };
    world.as_user(1, 1, |world| {
        refused(world.set(kill(file)), &Error::AccessDenied);
        refused(world.set(by_handle(file)), &Error::AccessDenied);
        refused(world.set(set_of(file)), &Error::Invalid(String::new()));
        let dir = world.mkdir(Ino::ROOT, "d").unwrap();
        refused(world.set(kill(dir)), &Error::Invalid(String::new()));
    });
    assert_eq!(world.inode(file).mode, 0o4755);
    world.open(file, WRITE).unwrap();
    world.as_user(1, 1, |world| world.set(by_handle(file)).unwrap());
    assert_eq!(world.inode(file).mode, 0o755, "the session holds it open for writing");
    let link = world.symlink(Ino::ROOT, "l", "t").unwrap();
    let chmod = SetAttr { mode: Some(0o600), ..set_of(link) };
    refused(world.set(chmod), &Error::NotSupported(String::new()));
}

#[test]
fn who_may_write_sets_now_and_the_owner_sets_any_time() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let (now, then) = (Some(SetTime::Now), Some(SetTime::To(Timestamp(-7))));
    world.as_user(1, 1, |world| {
        world.set(SetAttr { atime: now, mtime: now, ..set_of(file) }).unwrap();
        for (atime, mtime) in [(then, then), (now, None), (None, now), (then, now)] {
            refused(world.set(SetAttr { atime, mtime, ..set_of(file) }), &Error::NotPermitted);
        }
    });
    let touched = world.inode(file);
    assert_eq!(touched.mtime, touched.ctime);
    world.set(SetAttr { mtime: then, ..set_of(file) }).unwrap();
    let inode = world.inode(file);
    assert_eq!((inode.atime, inode.mtime), (touched.atime, Timestamp(-7)), "omitted stays");
    world.set(SetAttr { mode: Some(0o600), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| {
        let touch = SetAttr { atime: now, mtime: now, ..set_of(file) };
        refused(world.set(touch), &Error::AccessDenied);
    });
}

#[test]
fn atime_moves_as_the_volume_says() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let read = |world: &mut World| {
        let before = world.inode(file).atime;
        let at = Timestamp(i64::MAX);
        world.run(Action::Read(vec![Touch { ino: file, at }])).unwrap();
        world.inode(file).atime > before
    };
    assert!(read(&mut world), "not newer than the file");
    assert!(!read(&mut world), "newer than the file");
    world.now += i64::try_from(Duration::from_secs(86_400).as_nanos()).unwrap();
    assert!(read(&mut world), "a day old");
    setting(&mut world, Setting::Atime(Atime::Strictatime));
    assert!(read(&mut world));
    setting(&mut world, Setting::Atime(Atime::Noatime));
    world.now += i64::try_from(Duration::from_secs(90_000).as_nanos()).unwrap();
    assert!(!read(&mut world));
}

#[test]
fn a_late_read_moves_no_atime_that_was_set_since_and_stops_at_nothing() {
    let mut world = World::new();
    let (file, gone) = (world.mknod(Ino::ROOT, "f").unwrap(), world.mknod(Ino::ROOT, "g").unwrap());
    world.unlink(Ino::ROOT, "g").unwrap();
    let read_at = world.inode(file).ctime;
    let late = |at| Action::Read(vec![Touch { ino: gone, at }, Touch { ino: file, at }]);
    let set = Some(SetTime::To(Timestamp(-5)));
    world.set(SetAttr { atime: set, ..set_of(file) }).unwrap();
    world.run(late(read_at)).unwrap();
    assert_eq!(world.inode(file).atime, Timestamp(-5));
    let after = world.inode(file).ctime;
    world.run(late(after)).unwrap();
    assert_eq!(world.inode(file).atime, after);
}

#[test]
fn a_squashed_root_owns_and_may_nothing() {
    let mut world = World::new();
    let own = world.mkdir_mode(Ino::ROOT, "own", 0o700).unwrap();
    setting(&mut world, Setting::RootSquash(true));
    refused(world.mknod(own, "f"), &Error::AccessDenied);
    refused(world.lookup(own, "f"), &Error::AccessDenied);
    refused(world.vol().read_dir(Some(&Identity::ROOT), own, 0, 9), &Error::AccessDenied);
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let inode = world.inode(file);
    assert_eq!((inode.uid, inode.gid), (65534, 65534));
}

#[test]
fn only_files_are_cut() {
    let mut world = World::new();
    let fifo = world.mknod_of(Ino::ROOT, "p", FileKind::Fifo, 0o666).unwrap();
    refused(world.truncate(Ino::ROOT, 1), &Error::IsADirectory);
    refused(world.truncate(fifo, 1), &Error::Invalid(String::new()));
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o644).unwrap();
    refused(world.truncate(file, 1 << 63), &Error::FileTooLarge);
    world.as_user(1, 1, |world| refused(world.truncate(file, 1), &Error::AccessDenied));
    assert_eq!(world.truncate(file, i64::MAX as u64).unwrap().size, i64::MAX as u64);
}
