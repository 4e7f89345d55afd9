//! Turns to append.

use super::*;
use crate::state::command::Append;

impl World {
    fn begin_append(&mut self, ino: Ino, turn: u64) -> Result<()> {
        self.run(Action::BeginAppend(Append { ino, turn })).map(drop)
    }

    fn end_append(&mut self, ino: Ino, turn: u64) {
        self.run(Action::EndAppend(Append { ino, turn })).unwrap();
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
