//! Volumes, replica sets, and what tools read.

use super::*;
use crate::state::volume::Setting;
use xtfs_core::{SetEpoch, TargetId};

fn delete(world: &mut World, name: &str, force: bool) -> Reply {
    world.internal(Action::DeleteVolume(DeleteVolume { name: name.into(), force }))
}

fn purge(world: &mut World) -> bool {
    match world.internal(Action::PurgeVolume).unwrap() {
        Answer::Purged { gone } => gone,
        other => panic!("{other:?}"),
    }
}

#[test]
fn volumes_have_names_of_their_own() {
    let mut world = World::new();
    let other = world.create_volume("other").unwrap();
    assert_eq!(other, VolumeId::new(GROUP, 2));
    refused(world.create_volume("vol"), &Error::Exists);
    for bad in ["", "a/b", ".", "..", "a\nb"] {
        refused(world.create_volume(bad), &Error::Invalid(String::new()));
    }
    refused(world.create_volume(&"v".repeat(256)), &Error::NameTooLong);
    assert_eq!(world.view().volumes().unwrap().len(), 2);
    assert_eq!(world.view().volume_named("other").unwrap().volume().id, other);
    refused(world.view().volume_named("none").map(drop), &Error::NotFound);
}

#[test]
fn settings_are_read_from_text_and_kept() {
    let mut world = World::new();
    let settings = vec![
        Setting::parse("chown_non_root", "true").unwrap(),
        Setting::parse("root_squash", "on").unwrap(),
        Setting::parse("atime", "noatime").unwrap(),
    ];
    world.internal(Action::SetVolume(SetVolume { name: "vol".into(), settings })).unwrap();
    let policy = world.vol().volume().policy;
    assert!(policy.chown_non_root && policy.root_squash);
    assert_eq!(policy.atime.name(), "noatime");
    for (key, value) in [("atime", "sometimes"), ("root_squash", "maybe"), ("colour", "red")] {
        assert!(Setting::parse(key, value).is_err());
    }
}

#[test]
fn a_volume_with_files_goes_only_by_force_and_leaves_nothing() {
    let mut world = World::new();
    let keep = world.create_volume("keep").unwrap();
    let before = world.dump().len();
    world.volume = world.create_volume("gone").unwrap();
    world.session = world.open_session(ClientId::generate()).unwrap();
    let dir = world.mkdir(Ino::ROOT, "d").unwrap();
    world.symlink(dir, "l", "t").unwrap();
    let file = world.written("f", 10);
    let open = world.writing("open");
    refused(delete(&mut world, "gone", false), &Error::NotEmpty);
    delete(&mut world, "gone", true).unwrap();
    refused(world.mknod(Ino::ROOT, "late"), &Error::NotFound);
    refused(world.view().volume(world.volume).map(drop), &Error::NotFound);
    while world.view().any_volume(world.volume).unwrap().orphans(Ino(0), 9).unwrap().len() < 2 {
        assert!(!purge(&mut world));
    }
    assert!(!purge(&mut world), "OSDs have not confirmed");
    world.end_session(world.session).unwrap();
    assert_eq!(world.begin_delete(file), [file]);
    world.internal(Action::FinishDelete(vec![file, open])).unwrap();
    assert!(purge(&mut world));
    refused(world.internal(Action::PurgeVolume), &Error::NotFound);
    assert_eq!(world.dump().len(), before);
    assert!(world.view().volume(keep).is_ok());
    world.create_volume("gone").unwrap();
}

#[test]
fn a_volume_that_lives_is_not_purged() {
    let mut world = World::new();
    refused(world.internal(Action::PurgeVolume), &Error::Invalid(String::new()));
    delete(&mut world, "vol", false).unwrap();
    while !purge(&mut world) {}
}

#[test]
fn usage_counts_what_has_a_name() {
    let mut world = World::new();
    let usage = |world: &World| {
        let usage = world.vol().usage().unwrap();
        (usage.files, usage.bytes)
    };
    assert_eq!(usage(&world), (0, 0));
    let file = world.written("f", 100);
    world.link(file, Ino::ROOT, "g").unwrap();
    world.symlink(Ino::ROOT, "s", "target").unwrap();
    world.mkdir(Ino::ROOT, "d").unwrap();
    assert_eq!(usage(&world), (3, 100));
    world.truncate(file, 40).unwrap();
    world.unlink(Ino::ROOT, "f").unwrap();
    assert_eq!(usage(&world), (3, 40));
    world.unlink(Ino::ROOT, "g").unwrap();
    world.unlink(Ino::ROOT, "s").unwrap();
    world.rmdir(Ino::ROOT, "d").unwrap();
    assert_eq!(usage(&world), (0, 0));
    assert_eq!(world.begin_delete(file), [file]);
    world.internal(Action::FinishDelete(vec![file])).unwrap();
    assert_eq!(usage(&world), (0, 0));
}

#[test]
fn a_default_layout_is_for_new_files_and_new_directories() {
    let mut world = World::new();
    let dir = world.mkdir(Ino::ROOT, "d").unwrap();
    let before = world.mkdir(dir, "before").unwrap();
    let wide = StripeLayout::new(4096, 4).unwrap();
    let set = |ino| Action::SetDefaultLayout(SetDefaultLayout { ino, layout: Some(wide) });
    world.as_user(1, 1, |world| refused(world.run(set(dir)), &Error::NotPermitted));
    world.run(set(dir)).unwrap();
    let after = world.mkdir(dir, "after").unwrap();
    assert_eq!(world.vol().default_layout(dir).unwrap(), wide);
    assert_eq!(world.vol().default_layout(after).unwrap(), wide);
    assert_eq!(world.vol().default_layout(before).unwrap(), World::policy().layout);
    let file = world.mknod(dir, "f").unwrap();
    refused(world.run(set(file)), &Error::NotADirectory);
}

#[test]
fn replica_sets_are_rows_of_one_member() {
    let mut world = World::new();
    let target = TargetId::generate();
    let create =
        CreateSet { set: ReplicaSetId(world.take()), epoch: SetEpoch(world.take()), target };
    world.internal(Action::CreateSets(vec![create])).unwrap();
    let set = world.view().replica_set(create.set).unwrap();
    let member = Member { target, state: MemberState::InSync };
    assert_eq!((set.epoch, &set.members[..]), (create.epoch, &[member][..]));
    assert_eq!(world.view().sets_of_target(target).unwrap(), [create.set]);
    assert_eq!(world.view().replica_sets().unwrap(), [set]);
    refused(world.view().replica_set(ReplicaSetId(5)), &Error::UnknownSet);
}

#[test]
fn a_scan_pages_over_all_inodes_and_tells_what_is_pending() {
    let mut world = World::new();
    let (a, b) = (world.written("a", 10), world.writing("b"));
    world.link(a, Ino::ROOT, "c").unwrap();
    let (mut after, mut seen) = (Ino(0), Vec::new());
    while let [scanned] = &world.vol().scan(after, 1).unwrap()[..] {
        after = scanned.inode.ino;
        seen.push((after, scanned.links, scanned.pending));
    }
    assert_eq!(seen, [(Ino::ROOT, 0, false), (a, 2, false), (b, 1, true)]);
    assert_eq!(world.vol().open_files().unwrap(), 1);
    assert_eq!(world.vol().path_of(Ino::ROOT).unwrap(), b"");
    assert_eq!(world.vol().path_of(a).unwrap(), b"a");
}
