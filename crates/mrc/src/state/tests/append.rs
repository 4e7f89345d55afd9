//! Turns to append.

use super::*;
use crate::state::command::{Append, EndAppend};

impl World {
    fn begin_append(&mut self, ino: Ino, turn: u64) -> Result<()> {
        self.run(Action::BeginAppend(Append { ino, turn })).map(drop)
    }

    fn end_append(&mut self, ino: Ino, turn: u64) {
        self.end_with(ino, turn, None);
    }

    fn end_with(&mut self, ino: Ino, turn: u64, epoch: Option<FileEpoch>) {
        let append = Append { ino, turn };
        self.run(Action::EndAppend(EndAppend { append, report: None, epoch })).unwrap();
    }
}

fn overloaded() -> Error {
    Error::Overloaded(String::new())
}

#[test]
fn one_session_at_a_time_has_the_turn() {
    let mut world = World::new();
    let other = world.open_session(ClientId::generate()).unwrap();
    let file = world.writing("f");
    refused(world.as_session(other, |world| world.begin_append(file, 1)), &Error::StaleHandle);
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    world.begin_append(file, 1).unwrap();
    assert!(!world.vol().may_append(file, other).unwrap());
    refused(world.as_session(other, |world| world.begin_append(file, 1)), &overloaded());
    // A newer turn of the same session is not ended with the older one, in whatever order they arrive.
    world.begin_append(file, 2).unwrap();
    world.end_append(file, 1);
    refused(world.as_session(other, |world| world.begin_append(file, 1)), &overloaded());
    world.as_session(other, |world| world.end_append(file, 2));
    refused(world.as_session(other, |world| world.begin_append(file, 1)), &overloaded());
    world.end_append(file, 2);
    world.as_session(other, |world| world.begin_append(file, 1)).unwrap();
}

#[test]
fn a_turn_ends_with_the_last_close_for_writing_and_with_the_session() {
    let mut world = World::new();
    let other = world.open_session(ClientId::generate()).unwrap();
    let file = world.writing("f");
    world.open(file, READ).unwrap();
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    world.begin_append(file, 1).unwrap();
    world.close(file, true, None).unwrap();
    world.as_session(other, |world| world.begin_append(file, 1)).unwrap();
    world.open(file, WRITE).unwrap();
    refused(world.begin_append(file, 2), &overloaded());
    world.end_session(other).unwrap();
    assert!(world.vol().may_append(file, world.session).unwrap());
}

#[test]
fn r4_nobody_appends_behind_a_write_that_may_still_come() {
    let mut world = World::new();
    let other = world.open_session(ClientId::generate()).unwrap();
    let file = world.writing("f");
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    let unavailable = Error::Unavailable(String::new());
    world.begin_append(file, 1).unwrap();
    let epoch = FileEpoch(world.take());
    world.end_with(file, 1, Some(epoch));
    assert_eq!(world.inode(file).file_epoch, epoch);
    refused(world.as_session(other, |world| world.begin_append(file, 1)), &unavailable);
    assert!(world.settle(file, true, Some(100)));
    world.as_session(other, |world| world.begin_append(file, 1)).unwrap();
    // The same of a session that ended in its turn.
    world.end_session(other).unwrap();
    refused(world.begin_append(file, 2), &unavailable);
    assert!(world.settle(file, true, Some(100)));
    world.begin_append(file, 2).unwrap();
}
