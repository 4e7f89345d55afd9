//! Names: made, linked, moved, removed.

use xtfs_core::access::{SGID, STICKY};

use super::*;

const ROOT: Ino = Ino::ROOT;

#[test]
fn a_new_file_is_found_and_its_directory_has_changed() {
    let mut world = World::new();
    let before = world.inode(ROOT);
    let file = world.mknod(ROOT, "f").unwrap();
    let found = world.lookup(ROOT, "f").unwrap();
    assert_eq!((found.ino, found.nlink, found.mode, found.size), (file, 1, 0o666, 0));
    let after = world.inode(ROOT);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    assert!(after.change > before.change);
    assert_eq!(after.nlink, before.nlink);
    refused(world.lookup(ROOT, "g"), &Error::NotFound);
    assert_eq!(world.lookup(ROOT, ".").unwrap().ino, ROOT);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let mut world = World::new();
    let invalid = Error::Invalid(String::new());
    let long = "n".repeat(256);
    let cases: [(&str, &Error); 6] = [
        ("", &Error::NotFound),
        (".", &invalid),
        ("..", &invalid),
        ("a/b", &invalid),
        ("a\0b", &invalid),
        (&long, &Error::NameTooLong),
    ];
    for (name, error) in cases {
        refused(world.mknod(ROOT, name), error);
        refused(world.mkdir(ROOT, name), error);
        refused(world.unlink(ROOT, name), error);
        refused(world.mv((ROOT, "x"), (ROOT, name)), error);
    }
    world.mknod(ROOT, &"n".repeat(255)).unwrap();
}

#[test]
fn a_name_is_given_once() {
    let mut world = World::new();
    let file = world.mknod(ROOT, "f").unwrap();
    refused(world.mknod(ROOT, "f"), &Error::Exists);
    refused(world.mkdir(ROOT, "f"), &Error::Exists);
    refused(world.symlink(ROOT, "f", "t"), &Error::Exists);
    refused(world.link(file, ROOT, "f"), &Error::Exists);
    refused(world.mknod(file, "below"), &Error::NotADirectory);
    refused(world.mknod(Ino(99_999), "f"), &Error::NotFound);
}

#[test]
fn directories_count_the_directories_in_them() {
    let mut world = World::new();
    let a = world.mkdir(ROOT, "a").unwrap();
    let b = world.mkdir(a, "b").unwrap();
    assert_eq!((world.inode(ROOT).nlink, world.inode(a).nlink, world.inode(b).nlink), (3, 3, 2));
    assert_eq!(world.inode(b).size, DIRECTORY_SIZE);
    refused(world.rmdir(ROOT, "a"), &Error::NotEmpty);
    refused(world.unlink(ROOT, "a"), &Error::IsADirectory);
    world.rmdir(a, "b").unwrap();
    assert_eq!(world.inode(a).nlink, 2);
    world.rmdir(ROOT, "a").unwrap();
    assert_eq!(world.inode(ROOT).nlink, 2);
    refused(world.vol().inode(a), &Error::StaleHandle);
    let file = world.mknod(ROOT, "f").unwrap();
    refused(world.rmdir(ROOT, "f"), &Error::NotADirectory);
    assert_eq!(world.inode(file).nlink, 1);
}

#[test]
fn a_directory_hands_its_group_and_sgid_down() {
    let mut world = World::new();
    let top = world.mkdir_mode(ROOT, "top", 0o777 | SGID).unwrap();
    assert_eq!(world.inode(top).mode, 0o777, "mkdir does not make set-id directories");
    world.set(SetAttr { mode: Some(0o2777), gid: Some(50), ..set_of(top) }).unwrap();
    let (dir, file) = world.as_user(1, 1, |world| {
        let dir = world.mkdir_mode(top, "d", 0o1755).unwrap();
        (dir, world.mknod_of(top, "f", FileKind::File, 0o2771).unwrap())
    });
    assert_eq!((world.inode(dir).gid, world.inode(dir).mode), (50, 0o755 | STICKY | SGID));
    let file = world.inode(file);
    assert_eq!((file.uid, file.gid, file.mode), (1, 50, 0o771), "not a member of group 50");
}

#[test]
fn umask_takes_permission_bits_only() {
    let mut world = World::new();
    let ino = Ino(world.take());
    let (kind, name) = (FileKind::File, b"f".to_vec());
    let mknod = Mknod { parent: ROOT, name, kind, mode: 0o4777, umask: 0o7027, rdev: 0, ino };
    world.run(Action::Mknod(mknod)).unwrap();
    assert_eq!(world.inode(ino).mode, 0o4750);
}

#[test]
fn only_root_makes_devices() {
    let mut world = World::new();
    for (index, kind) in [FileKind::CharDevice, FileKind::BlockDevice].into_iter().enumerate() {
        let name = format!("dev{index}");
        world.as_user(1, 1, |world| {
            refused(world.mknod_of(ROOT, &name, kind, 0o600), &Error::NotPermitted);
        });
        let device = world.mknod_of(ROOT, &name, kind, 0o600).unwrap();
        assert_eq!(world.inode(device).rdev, 7);
    }
    for (name, kind) in [("fifo", FileKind::Fifo), ("socket", FileKind::Socket)] {
        let ino = world.as_user(1, 1, |world| world.mknod_of(ROOT, name, kind, 0o600)).unwrap();
        assert_eq!((world.inode(ino).kind, world.inode(ino).rdev), (kind, 0));
    }
    refused(world.mknod_of(ROOT, "d", FileKind::Directory, 0), &Error::Invalid(String::new()));
}

#[test]
fn a_symbolic_link_keeps_its_target() {
    let mut world = World::new();
    let link = world.symlink(ROOT, "l", "some/where").unwrap();
    assert_eq!(world.vol().read_link(link).unwrap(), b"some/where");
    let inode = world.inode(link);
    assert_eq!((inode.size, inode.mode), (10, 0o777));
    refused(world.symlink(ROOT, "m", &"t".repeat(4096)), &Error::NameTooLong);
    refused(world.symlink(ROOT, "m", ""), &Error::NotFound);
    world.symlink(ROOT, "m", &"t".repeat(4095)).unwrap();
    refused(world.vol().read_link(ROOT), &Error::Invalid(String::new()));
}

#[test]
fn an_inode_lives_as_long_as_it_has_a_name() {
    let mut world = World::new();
    let dir = world.mkdir(ROOT, "d").unwrap();
    let file = world.mknod(ROOT, "a").unwrap();
    world.link(file, dir, "b").unwrap();
    assert_eq!(world.inode(file).nlink, 2);
    refused(world.link(dir, ROOT, "e"), &Error::NotPermitted);
    world.unlink(ROOT, "a").unwrap();
    assert_eq!(world.inode(file).nlink, 1);
    world.unlink(dir, "b").unwrap();
    refused(world.vol().inode(file), &Error::StaleHandle);
    refused(world.unlink(dir, "b"), &Error::NotFound);
}

#[test]
fn links_have_a_bound() {
    let mut world = World::new();
    let file = world.mknod(ROOT, "f").unwrap();
    let dir = world.mkdir(ROOT, "d").unwrap();
    let other = world.mkdir(ROOT, "o").unwrap();
    // Making them all would take long; the bound is on the number in the row.
    for ino in [file, dir] {
        let mut inode = world.inode(ino);
        inode.nlink = crate::state::LINKS_MAX;
        let mut tx = Transaction::new(&world.kv);
        let keys = crate::state::keys::Keys::of_volume(GROUP, world.volume);
        crate::state::keys::store(&mut tx, &keys.inode(ino), &inode).unwrap();
        world.kv.write(tx.into_batch(), Durability::Process).unwrap();
    }
    refused(world.link(file, ROOT, "g"), &Error::TooManyLinks);
    refused(world.mkdir(dir, "e"), &Error::TooManyLinks);
    refused(world.mv((ROOT, "o"), (dir, "o")), &Error::TooManyLinks);
    assert_eq!(world.inode(other).parent, ROOT);
    world.mknod(dir, "file").unwrap();
}

#[test]
fn a_rename_takes_the_name_along_and_keeps_the_inode() {
    let mut world = World::new();
    let dir = world.mkdir(ROOT, "d").unwrap();
    let file = world.mknod(ROOT, "f").unwrap();
    let before = world.inode(file);
    world.mv((ROOT, "f"), (dir, "g")).unwrap();
    refused(world.lookup(ROOT, "f"), &Error::NotFound);
    let moved = world.lookup(dir, "g").unwrap();
    assert_eq!((moved.ino, moved.nlink, moved.mtime), (file, 1, before.mtime));
    assert!(moved.ctime > before.ctime);
    assert_eq!(world.vol().path_of(file).unwrap(), b"d/g");
    refused(world.mv((ROOT, "f"), (dir, "h")), &Error::NotFound);
}

#[test]
fn a_rename_over_a_file_drops_what_was_there() {
    let mut world = World::new();
    let (a, b) = (world.mknod(ROOT, "a").unwrap(), world.mknod(ROOT, "b").unwrap());
    world.mv((ROOT, "a"), (ROOT, "b")).unwrap();
    assert_eq!(world.lookup(ROOT, "b").unwrap().ino, a);
    refused(world.vol().inode(b), &Error::StaleHandle);
    let dir = world.mkdir(ROOT, "d").unwrap();
    refused(world.mv((ROOT, "b"), (ROOT, "d")), &Error::IsADirectory);
    refused(world.mv((ROOT, "d"), (ROOT, "b")), &Error::NotADirectory);
    let full = world.mkdir(ROOT, "full").unwrap();
    world.mknod(full, "x").unwrap();
    refused(world.mv((ROOT, "d"), (ROOT, "full")), &Error::NotEmpty);
    world.mv((ROOT, "full"), (ROOT, "d")).unwrap();
    assert_eq!(world.lookup(ROOT, "d").unwrap().ino, full);
    refused(world.vol().inode(dir), &Error::StaleHandle);
    assert_eq!(world.inode(ROOT).nlink, 3);
}

#[test]
fn a_rename_between_two_names_of_one_inode_does_nothing() {
    let mut world = World::new();
    let file = world.mknod(ROOT, "a").unwrap();
    world.link(file, ROOT, "b").unwrap();
    for mode in [RenameMode::Replace, RenameMode::Exchange] {
        world.rename((ROOT, "a"), (ROOT, "b"), mode).unwrap();
    }
    world.mv((ROOT, "a"), (ROOT, "a")).unwrap();
    assert_eq!(world.inode(file).nlink, 2);
    assert!(world.lookup(ROOT, "a").is_ok() && world.lookup(ROOT, "b").is_ok());
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let mut world = World::new();
    let a = world.mkdir(ROOT, "a").unwrap();
    let b = world.mkdir(a, "b").unwrap();
    let c = world.mkdir(b, "c").unwrap();
    let invalid = Error::Invalid(String::new());
    refused(world.mv((ROOT, "a"), (a, "x")), &invalid);
    refused(world.mv((ROOT, "a"), (c, "x")), &invalid);
    refused(world.rename((ROOT, "a"), (b, "c"), RenameMode::Exchange), &invalid);
    refused(world.rename((b, "c"), (ROOT, "a"), RenameMode::Exchange), &invalid);
    refused(world.mv((b, "c"), (ROOT, "a")), &Error::NotEmpty);
    world.mv((a, "b"), (ROOT, "b")).unwrap();
    assert_eq!(
        (world.inode(a).nlink, world.inode(b).parent, world.inode(ROOT).nlink),
        (2, ROOT, 4)
    );
    world.mv((ROOT, "a"), (c, "a")).unwrap();
    assert_eq!(world.vol().path_of(a).unwrap(), b"b/c/a");
    assert_eq!(world.lookup(a, "..").unwrap().ino, c);
}

#[test]
fn noreplace_refuses_and_exchange_swaps() {
    let mut world = World::new();
    let dir = world.mkdir(ROOT, "dir").unwrap();
    let sub = world.mkdir(dir, "sub").unwrap();
    let file = world.mknod(ROOT, "file").unwrap();
    refused(world.rename((ROOT, "file"), (dir, "sub"), RenameMode::NoReplace), &Error::Exists);
    refused(world.rename((ROOT, "file"), (dir, "no"), RenameMode::Exchange), &Error::NotFound);
    world.rename((ROOT, "file"), (dir, "sub"), RenameMode::Exchange).unwrap();
    assert_eq!(world.lookup(ROOT, "file").unwrap().ino, sub);
    assert_eq!(world.lookup(dir, "sub").unwrap().ino, file);
    assert_eq!(
        (world.inode(sub).parent, world.inode(ROOT).nlink, world.inode(dir).nlink),
        (ROOT, 4, 2)
    );
    world.rename((dir, "sub"), (ROOT, "new"), RenameMode::NoReplace).unwrap();
}

#[test]
fn a_sticky_directory_keeps_its_entries_from_strangers() {
    let mut world = World::new();
    let tmp = world.mkdir_mode(ROOT, "tmp", 0o1777).unwrap();
    world.as_user(1, 1, |world| world.mknod(tmp, "mine").unwrap());
    world.as_user(2, 2, |world| {
        refused(world.unlink(tmp, "mine"), &Error::NotPermitted);
        refused(world.mv((tmp, "mine"), (ROOT, "gone")), &Error::NotPermitted);
        world.mknod(ROOT, "other").unwrap();
        refused(world.mv((ROOT, "other"), (tmp, "mine")), &Error::NotPermitted);
    });
    world.as_user(1, 1, |world| world.unlink(tmp, "mine").unwrap());
}

#[test]
fn a_directory_is_searched_with_x_and_changed_with_w() {
    let mut world = World::new();
    let dir = world.mkdir_mode(ROOT, "d", 0o755).unwrap();
    world.mknod(dir, "f").unwrap();
    let sub = world.mkdir_mode(dir, "s", 0o700).unwrap();
    world.mknod(sub, "g").unwrap();
    let denied = Error::AccessDenied;
    world.as_user(1, 1, |world| {
        world.lookup(dir, "f").unwrap();
        refused(world.lookup(sub, "g"), &denied);
        refused(world.mknod(dir, "new"), &denied);
        refused(world.mkdir(dir, "f"), &Error::Exists);
        refused(world.unlink(dir, "f"), &denied);
        refused(world.rmdir(dir, "s"), &denied);
        refused(world.mv((dir, "f"), (ROOT, "f")), &denied);
        world.mknod(ROOT, "own").unwrap();
        refused(world.mv((ROOT, "own"), (dir, "own")), &denied);
        refused(world.unlink(sub, "g"), &denied);
    });
    // A directory that moves is written to: its ".." changes.
    let theirs = world.mkdir_mode(ROOT, "theirs", 0o755).unwrap();
    let inner = world.mkdir(ROOT, "inner").unwrap();
    assert!(theirs < inner);
    world.as_user(1, 1, |world| {
        refused(world.mv((ROOT, "theirs"), (inner, "x")), &denied);
        world.mv((ROOT, "theirs"), (ROOT, "renamed")).unwrap();
    });
}

#[test]
fn a_refused_command_leaves_nothing_but_its_answer() {
    let mut world = World::new();
    world.mkdir(ROOT, "d").unwrap();
    let command = world.command(Action::Unlink(Unlink { parent: ROOT, name: b"d".to_vec() }), None);
    let before = world.dump();
    refused(world.apply(command), &Error::IsADirectory);
    let after = world.dump();
    let differs = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!((before.len(), differs), (after.len(), 1), "only the time has gone on");
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new();
    world.mkdir(ROOT, "a").unwrap();
    let latest = world.inode(ROOT).ctime;
    world.now = 5;
    world.mkdir(ROOT, "b").unwrap();
    assert_eq!(world.inode(ROOT).ctime, latest);
    assert_eq!(world.view().now().unwrap(), latest);
}
