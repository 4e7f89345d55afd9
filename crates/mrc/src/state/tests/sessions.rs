//! Sessions, and answers that are remembered.

use super::*;
use crate::state::session::RESULTS_MAX;

fn request(world: &mut World, number: u64, lowest: u64, action: Action) -> Command {
    let origin = Origin {
        session: world.session,
        number: RequestNumber(number),
        lowest_unanswered: RequestNumber(lowest),
    };
    world.command(action, Some(origin))
}

fn mkdir(world: &mut World, name: &str) -> Action {
    let ino = Ino(world.take());
    let name = name.as_bytes().to_vec();
    Action::Mkdir(Mkdir { parent: Ino::ROOT, name, mode: 0o777, umask: 0, ino })
}

#[test]
fn a_request_is_carried_out_once_however_often_it_arrives() {
    let mut world = World::new();
    let make = mkdir(&mut world, "d");
    let command = request(&mut world, 1, 1, make);
    let first = world.apply(command.clone());
    assert!(first.is_ok());
    let before = world.dump();
    assert_eq!(world.apply(command), first);
    assert_eq!(world.dump(), before);
    // Also with other numbers, as a new leader would propose it, and with a refusal as its answer.
    let again = mkdir(&mut world, "d");
    let again = request(&mut world, 1, 1, again);
    assert_eq!(world.apply(again), first);
    let refusal = mkdir(&mut world, "d");
    let refusal = request(&mut world, 2, 1, refusal);
    refused(world.apply(refusal.clone()), &Error::Exists);
    world.rmdir_without_session("d");
    refused(world.apply(refusal), &Error::Exists);
}

impl World {
    fn rmdir_without_session(&mut self, name: &str) {
        let rmdir = Action::Rmdir(Unlink { parent: Ino::ROOT, name: name.into() });
        self.internal(rmdir).unwrap();
    }
}

#[test]
fn an_undecided_answer_is_not_remembered() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let open = Action::Open(Open { ino: file, open: WRITE, layout: None, epoch: None });
    let command = request(&mut world, 100, 1, open);
    refused(world.apply(command), &Error::Unavailable(String::new()));
    let layout = Some(world.layout());
    let open = Action::Open(Open { ino: file, open: WRITE, layout, epoch: None });
    let command = request(&mut world, 100, 1, open);
    assert!(world.apply(command).is_ok());
}

#[test]
fn p3_answers_below_the_lowest_unanswered_are_forgotten() {
    let mut world = World::new();
    for number in 1..=3 {
        let make = mkdir(&mut world, &format!("d{number}"));
        let command = request(&mut world, number, 1, make);
        world.apply(command).unwrap();
    }
    assert_eq!(world.view().session(world.session).unwrap().results, 3);
    let make = mkdir(&mut world, "d4");
    let command = request(&mut world, 4, 3, make);
    world.apply(command).unwrap();
    assert_eq!(world.view().session(world.session).unwrap().results, 2);
    let make = mkdir(&mut world, "late");
    let command = request(&mut world, 2, 1, make);
    refused(world.apply(command), &Error::Invalid(String::new()));
    for (number, lowest) in [(0, 0), (5, 6)] {
        let command = request(&mut world, number, lowest, Action::PurgeVolume);
        refused(world.apply(command), &Error::Invalid(String::new()));
    }
}

#[test]
fn remembered_answers_have_a_bound() {
    let mut world = World::new();
    for number in 1..=RESULTS_MAX {
        let command = request(
            &mut world,
            number,
            1,
            Action::Read(vec![Touch { ino: Ino::ROOT, at: Timestamp(i64::MAX) }]),
        );
        world.apply(command).unwrap();
    }
    let touch = Action::Read(vec![Touch { ino: Ino::ROOT, at: Timestamp(i64::MAX) }]);
    let command = request(&mut world, RESULTS_MAX + 1, 1, touch.clone());
    refused(world.apply(command), &Error::Overloaded(String::new()));
    let command = request(&mut world, RESULTS_MAX + 1, RESULTS_MAX, touch);
    world.apply(command).unwrap();
    assert_eq!(world.view().session(world.session).unwrap().results, 2);
}

#[test]
fn a_client_gets_its_session_again() {
    let mut world = World::new();
    let client = ClientId::generate();
    let session = world.open_session(client).unwrap();
    assert_eq!(world.open_session(client).unwrap(), session);
    assert_eq!(world.view().sessions().unwrap().len(), 2);
    let other = world.create_volume("other").unwrap();
    world.volume = other;
    refused(world.open_session(client), &Error::Invalid(String::new()));
    world.volume = VolumeId(77);
    refused(world.open_session(ClientId::generate()), &Error::NotFound);
}

#[test]
fn a_session_that_expired_leaves_nothing() {
    let mut world = World::new();
    let client = ClientId::generate();
    world.mknod(Ino::ROOT, "first").unwrap();
    world.unlink(Ino::ROOT, "first").unwrap();
    let before = world.dump();
    let session = world.open_session(client).unwrap();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    world.as_session(session, |world| {
        world.open(file, READ).unwrap();
        world.unlink(Ino::ROOT, "f").unwrap();
    });
    assert_eq!(world.inode(file).nlink, 0);
    world.end_session(session).unwrap();
    refused(world.vol().inode(file), &Error::StaleHandle);
    world.as_session(session, |world| {
        refused(world.mknod(Ino::ROOT, "g"), &Error::SessionLost);
    });
    refused(world.end_session(session), &Error::SessionLost);
    assert_ne!(world.open_session(client).unwrap(), session, "a new one");
    world.end_session(SessionId(world.number - 1)).unwrap();
    // Only the answer that our own session remembers is new.
    assert_eq!(world.dump().len(), before.len() + 1);
}

#[test]
fn a_session_is_for_its_volume() {
    let mut world = World::new();
    world.volume = world.create_volume("other").unwrap();
    refused(world.mknod(Ino::ROOT, "f"), &Error::Invalid(String::new()));
}
