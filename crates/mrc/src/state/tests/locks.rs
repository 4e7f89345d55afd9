//! Locks belong to sessions that hold the inode open, and go with them.

use super::*;
use crate::state::lock::{LockKind, LockRange};

impl World {
    fn lock(&mut self, ino: Ino, owner: u64, kind: Option<LockKind>) -> Result<()> {
        let lock =
            Lock { ino, owner, kind, range: LockRange::ALL, pid: 5, process: owner, lost: false };
        self.run(Action::Lock(lock)).map(drop)
    }

    fn other_session(&mut self) -> SessionId {
        self.open_session(ClientId::generate()).unwrap()
    }
}

const EXCLUSIVE: Option<LockKind> = Some(LockKind::Exclusive);

#[test]
fn a_lock_is_in_the_way_of_other_owners_and_sessions() {
    let mut world = World::new();
    let file = world.writing("f");
    let other = world.other_session();
    world.as_session(other, |world| world.open(file, READ)).unwrap();
    world.lock(file, 1, EXCLUSIVE).unwrap();
    refused(world.lock(file, 2, EXCLUSIVE), &Error::Locked);
    refused(world.as_session(other, |world| world.lock(file, 1, EXCLUSIVE)), &Error::Locked);
    world.lock(file, 1, None).unwrap();
    world.as_session(other, |world| world.lock(file, 1, EXCLUSIVE)).unwrap();
}

#[test]
fn who_does_not_hold_the_inode_open_cannot_lock_it() {
    let mut world = World::new();
    let file = world.written("f", 1);
    refused(world.lock(file, 1, EXCLUSIVE), &Error::StaleHandle);
    world.lock(file, 1, None).unwrap();
    assert!(world.vol().locks(file).unwrap().is_empty());
}

#[test]
fn locks_go_with_the_last_close_of_their_session() {
    let mut world = World::new();
    let file = world.written("f", 1);
    let other = world.other_session();
    world.as_session(other, |world| world.open(file, READ)).unwrap();
    world.open(file, READ).unwrap();
    world.open(file, WRITE).unwrap();
    world.lock(file, 1, Some(LockKind::Shared)).unwrap();
    world.as_session(other, |world| world.lock(file, 1, Some(LockKind::Shared))).unwrap();
    world.close(file, true, None).unwrap();
    refused(world.as_session(other, |world| world.lock(file, 1, EXCLUSIVE)), &Error::Locked);
    world.close(file, false, None).unwrap();
    world.as_session(other, |world| world.lock(file, 1, EXCLUSIVE)).unwrap();
}

#[test]
fn locks_go_with_their_session_and_leave_no_row() {
    let mut world = World::new();
    let file = world.written("f", 1);
    let other = world.other_session();
    world.as_session(other, |world| {
        world.open(file, READ).unwrap();
        world.lock(file, 1, EXCLUSIVE).unwrap();
        world.unlink(Ino::ROOT, "f").unwrap();
    });
    let rows = crate::state::keys::Keys::of_volume(GROUP, world.volume).locks(file);
    let rows = |world: &World| world.kv.scan(&KeyRange::prefix(&rows), 9).unwrap().len();
    assert_eq!(rows(&world), 1);
    world.end_session(other).unwrap();
    assert_eq!(rows(&world), 0);
}

#[test]
fn a_repeated_lock_gets_its_first_answer() {
    let mut world = World::new();
    let file = world.writing("f");
    let lock = Lock {
        ino: file,
        owner: 1,
        kind: EXCLUSIVE,
        range: LockRange::ALL,
        pid: 5,
        process: 1,
        lost: false,
    };
    world.request += 1;
    let number = RequestNumber(world.request);
    let origin = Origin { session: world.session, number, lowest_unanswered: RequestNumber(1) };
    let command = world.command(Action::Lock(lock), Some(origin));
    world.apply(command.clone()).unwrap();
    world.lock(file, 1, None).unwrap();
    world.apply(command).unwrap();
    assert!(world.vol().locks(file).unwrap().is_empty(), "it was given back since");
}

#[test]
fn r4_a_dead_writers_file_is_locked_once_its_columns_are_sealed() {
    let mut world = World::new();
    let file = world.writing("f");
    let (dead, other) = (world.session, world.other_session());
    world.as_session(other, |world| world.open(file, READ)).unwrap();
    world.lock(file, 1, EXCLUSIVE).unwrap();
    world.end_session(dead).unwrap();
    world.as_session(other, |world| {
        refused(world.lock(file, 1, EXCLUSIVE), &Error::Locked);
        // What a power cut took was granted before.
        let lock = Lock {
            ino: file,
            owner: 2,
            kind: EXCLUSIVE,
            range: LockRange::ALL,
            pid: 5,
            process: 2,
            lost: true,
        };
        world.run(Action::Lock(lock)).unwrap();
        world.lock(file, 2, None).unwrap();
        assert!(world.settle(file, true, Some(0)));
        world.lock(file, 1, EXCLUSIVE).unwrap();
    });
}
