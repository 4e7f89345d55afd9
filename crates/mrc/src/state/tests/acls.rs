//! POSIX ACLs: what they allow, what chmod and new inodes make of them.

use xtfs_core::access::{SGID, Wanted};
use xtfs_core::acl::{ACCESS, DEFAULT};

use super::*;
use crate::state::volume::Setting;

/// Tag, rights, id.
type Entry = (u16, u16, u32);

const NOBODY: u32 = u32::MAX;

fn value(entries: &[Entry]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// `u::rw-,u:10:NAMED,g::r--,g:20:rw-,m::MASK,o::---`
fn list(named: u16, mask: u16) -> Vec<u8> {
    value(&[
        (1, 6, NOBODY),
        (2, named, 10),
        (4, 4, NOBODY),
        (8, 6, 20),
        (16, mask, NOBODY),
        (32, 0, NOBODY),
    ])
}

fn set(world: &mut World, ino: Ino, name: &[u8], value: Vec<u8>) -> Result<()> {
    let set = SetXattr { ino, name: name.to_vec(), value, mode: XattrMode::Set };
    world.run(Action::SetXattr(set)).map(drop)
}

fn remove(world: &mut World, ino: Ino, name: &[u8]) -> Result<()> {
    world.run(Action::RemoveXattr(RemoveXattr { ino, name: name.to_vec() })).map(drop)
}

fn get(world: &World, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
    world.vol().xattr(&world.caller, ino, name)
}

fn chmod(world: &mut World, ino: Ino, mode: u32) {
    world.set(SetAttr { mode: Some(mode), ..set_of(ino) }).unwrap();
}

fn may(world: &World, uid: u32, gid: u32, ino: Ino, wanted: Wanted) -> bool {
    let who = Identity { uid, gid, groups: Vec::new() };
    world.vol().access(&who, ino, wanted).is_ok()
}

#[test]
fn who_is_named_gets_what_the_mask_lets_through() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o600).unwrap();
    assert!(!may(&world, 10, 10, file, Wanted::READ));
    let before = world.inode(file);
    set(&mut world, file, ACCESS, list(6, 7)).unwrap();
    let after = world.inode(file);
    assert_eq!(after.mode, 0o670, "the mask shows as the group's bits");
    assert!(after.ctime > before.ctime && after.change > before.change);
    assert!(may(&world, 10, 10, file, Wanted::READ) && may(&world, 10, 10, file, Wanted::WRITE));
    assert!(may(&world, 11, 20, file, Wanted::WRITE) && !may(&world, 11, 11, file, Wanted::READ));
    chmod(&mut world, file, 0o640);
    assert_eq!(get(&world, file, ACCESS).unwrap(), list(6, 4), "chmod changes the mask");
    assert!(may(&world, 10, 10, file, Wanted::READ) && !may(&world, 10, 10, file, Wanted::WRITE));
    world.as_user(10, 10, |world| {
        world.open(file, READ).unwrap();
        refused(world.open(file, WRITE), &Error::AccessDenied);
        refused(world.truncate(file, 0), &Error::AccessDenied);
    });
}

#[test]
fn every_change_of_a_directory_asks_its_list() {
    let mut world = World::new();
    let dir = world.mkdir_mode(Ino::ROOT, "d", 0o700).unwrap();
    world.mknod(dir, "old").unwrap();
    let full =
        value(&[(1, 7, NOBODY), (2, 7, 10), (4, 0, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY)]);
    world.as_user(10, 10, |world| refused(world.lookup(dir, "old"), &Error::AccessDenied));
    set(&mut world, dir, ACCESS, full).unwrap();
    world.as_user(10, 10, |world| {
        let file = world.mknod(dir, "f").unwrap();
        world.link(file, dir, "g").unwrap();
        world.mv((dir, "g"), (dir, "h")).unwrap();
        world.unlink(dir, "old").unwrap();
        world.mkdir(dir, "sub").unwrap();
        world.rmdir(dir, "sub").unwrap();
        world.vol().read_dir(Some(&world.caller), dir, 0, 9).unwrap();
    });
    chmod(&mut world, dir, 0o750);
    world.as_user(10, 10, |world| {
        world.lookup(dir, "f").unwrap();
        refused(world.mknod(dir, "x"), &Error::AccessDenied);
        refused(world.mv((dir, "h"), (dir, "x")), &Error::AccessDenied);
        refused(world.unlink(dir, "h"), &Error::AccessDenied);
        let file = world.lookup(dir, "f").unwrap().ino;
        refused(world.link(file, dir, "x"), &Error::AccessDenied);
    });
}

#[test]
fn who_has_opened_a_directory_lists_it_whatever_its_mode() {
    let mut world = World::new();
    let dir = world.mkdir_mode(Ino::ROOT, "d", 0o300).unwrap();
    world.mknod(dir, "f").unwrap();
    world.as_user(1, 1, |world| {
        refused(world.vol().read_dir(Some(&world.caller), dir, 0, 9), &Error::AccessDenied);
        assert_eq!(world.vol().read_dir(None, dir, 0, 9).unwrap().entries.len(), 1);
    });
}

#[test]
fn a_list_that_is_a_mode_is_stored_as_one() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o600).unwrap();
    refused(get(&world, file, ACCESS), &Error::NoAttribute);
    remove(&mut world, file, ACCESS).unwrap();
    remove(&mut world, file, DEFAULT).unwrap();
    refused(set(&mut world, file, DEFAULT, list(6, 6)), &Error::AccessDenied);
    set(&mut world, file, ACCESS, list(6, 6)).unwrap();
    let names = world.vol().xattrs(&world.caller, file).unwrap();
    assert_eq!(names, [ACCESS.to_vec()]);
    let minimal = [(1, 6, NOBODY), (4, 4, NOBODY), (32, 4, NOBODY)];
    set(&mut world, file, ACCESS, value(&minimal)).unwrap();
    assert_eq!((world.inode(file).mode, world.inode(file).acls), (0o644, None));
    refused(get(&world, file, ACCESS), &Error::NoAttribute);
    assert!(world.vol().xattrs(&world.caller, file).unwrap().is_empty());
    set(&mut world, file, ACCESS, list(6, 6)).unwrap();
    remove(&mut world, file, ACCESS).unwrap();
    assert_eq!((world.inode(file).mode, world.inode(file).acls), (0o660, None));
}

#[test]
fn what_is_made_inherits_the_default_and_no_umask() {
    let mut world = World::new();
    let dir = world.mkdir_mode(Ino::ROOT, "d", 0o777).unwrap();
    set(&mut world, dir, DEFAULT, list(6, 6)).unwrap();
    assert_eq!(world.inode(dir).mode, 0o777);
    let ino = Ino(world.take());
    let name = b"f".to_vec();
    let kind = FileKind::File;
    let mknod = Mknod { parent: dir, name, kind, mode: 0o664, umask: 0o777, rdev: 0, ino };
    world.run(Action::Mknod(mknod)).unwrap();
    assert_eq!(world.inode(ino).mode, 0o660);
    assert_eq!(get(&world, ino, ACCESS).unwrap(), list(6, 6));
    refused(get(&world, ino, DEFAULT), &Error::NoAttribute);
    // The maker's mode takes away, the umask (022 here) does not.
    let opened = world.create(dir, "g", 0o640, WRITE).unwrap().inode;
    assert_eq!(opened.mode, 0o640);
    assert_eq!(get(&world, opened.ino, ACCESS).unwrap(), list(6, 4));
    let sub = world.mkdir_mode(dir, "sub", 0o700).unwrap();
    assert_eq!(world.inode(sub).mode, 0o600);
    assert_eq!(get(&world, sub, DEFAULT).unwrap(), list(6, 6));
    assert_eq!(get(&world, sub, ACCESS).unwrap(), list(6, 0));
    let names = world.vol().xattrs(&world.caller, sub).unwrap();
    assert_eq!(names, [ACCESS.to_vec(), DEFAULT.to_vec()]);
    let link = world.symlink(dir, "l", "t").unwrap();
    assert_eq!((world.inode(link).mode, world.inode(link).acls), (0o777, None));
    // A default that is a mode is handed down as one.
    let plain = value(&[(1, 7, NOBODY), (4, 5, NOBODY), (32, 1, NOBODY)]);
    set(&mut world, dir, DEFAULT, plain.clone()).unwrap();
    assert_eq!(get(&world, dir, DEFAULT).unwrap(), plain);
    let other = world.mkdir_mode(dir, "other", 0o777).unwrap();
    assert_eq!(world.inode(other).mode, 0o751);
    refused(get(&world, other, ACCESS), &Error::NoAttribute);
    remove(&mut world, dir, DEFAULT).unwrap();
    refused(get(&world, dir, DEFAULT), &Error::NoAttribute);
    assert_eq!(world.inode(dir).acls, None);
}

#[test]
fn the_owner_sets_lists_and_what_they_stand_on_is_checked() {
    let mut world = World::new();
    let file = world.as_user(1, 1, |world| world.mknod(Ino::ROOT, "f").unwrap());
    let dir = world.mkdir(Ino::ROOT, "d").unwrap();
    let link = world.symlink(Ino::ROOT, "l", "t").unwrap();
    world.as_user(2, 2, |world| {
        refused(set(world, file, ACCESS, list(6, 6)), &Error::NotPermitted);
        refused(set(world, dir, DEFAULT, list(6, 6)), &Error::NotPermitted);
    });
    world.as_user(1, 1, |world| set(world, file, ACCESS, list(6, 6)).unwrap());
    world.as_user(2, 2, |world| {
        assert_eq!(get(world, file, ACCESS).unwrap(), list(6, 6), "anybody reads it");
        refused(remove(world, file, ACCESS), &Error::NotPermitted);
    });
    refused(set(&mut world, file, DEFAULT, list(6, 6)), &Error::AccessDenied);
    for name in [ACCESS, DEFAULT] {
        let unsupported = Error::NotSupported(String::new());
        refused(set(&mut world, link, name, list(6, 6)), &unsupported);
        refused(get(&world, link, name), &unsupported);
    }
    let bad = value(&[(1, 6, NOBODY), (2, 6, 10), (4, 4, NOBODY), (32, 0, NOBODY)]);
    refused(set(&mut world, file, ACCESS, bad), &Error::Invalid(String::new()));
}

#[test]
fn a_list_clears_sgid_as_chmod_does_and_a_chown_leaves_the_list() {
    let mut world = World::new();
    let file = world.as_user(1, 1, |world| world.mknod(Ino::ROOT, "f").unwrap());
    world.set(SetAttr { gid: Some(9), mode: Some(0o2775), ..set_of(file) }).unwrap();
    world.as_user(1, 1, |world| set(world, file, ACCESS, list(7, 7)).unwrap());
    assert_eq!(world.inode(file).mode, 0o670, "no member of group 9");
    chmod(&mut world, file, 0o670 | SGID);
    set(&mut world, file, ACCESS, list(7, 6)).unwrap();
    assert_eq!(world.inode(file).mode, 0o660 | SGID, "root");
    world.set(SetAttr { uid: Some(3), ..set_of(file) }).unwrap();
    assert_eq!(get(&world, file, ACCESS).unwrap(), list(7, 6));
}

#[test]
fn a_squashed_root_is_judged_by_the_list_of_nobody() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o600).unwrap();
    let for_nobody =
        value(&[(1, 6, NOBODY), (2, 4, 65534), (4, 0, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)]);
    set(&mut world, file, ACCESS, for_nobody).unwrap();
    let settings = vec![Setting::RootSquash(true)];
    world.internal(Action::SetVolume(SetVolume { name: "vol".into(), settings })).unwrap();
    assert!(may(&world, 0, 0, file, Wanted::READ) && !may(&world, 0, 0, file, Wanted::WRITE));
    refused(set(&mut world, file, ACCESS, list(6, 6)), &Error::NotPermitted);
    refused(set(&mut world, file, b"trusted.t", Vec::new()), &Error::NotPermitted);
    let of_group = world.as_user(5, 0, |world| world.mknod(Ino::ROOT, "g").unwrap());
    assert_eq!((world.inode(of_group).uid, world.inode(of_group).gid), (5, 65534));
}
