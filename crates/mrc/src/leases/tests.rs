//! The table against clients that obey recalls, in every order that a network may bring.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use xtfs_core::{Error, Ino, SessionId, VolumeId};

use super::Leases;
use super::table::{Grant, Object, Recall, Table};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

fn object(ino: u64) -> Object {
    (VolumeId(1), Ino(ino))
}

fn listening(leases_max: usize) -> Table {
    let mut table = Table::new(leases_max);
    table.listen(A, 1);
    table.listen(B, 2);
    table
}

#[test]
fn a_change_waits_until_others_have_forgotten() {
    let mut table = listening(10);
    let held = table.grant(B, object(7)).unwrap().number;
    table.grant(A, object(7)).unwrap();
    table.begin(A, &[object(7)]);
    assert!(table.awaits_others(A, &[object(7)]));
    let recalls = table.take_unsent(B, 2, 10);
    assert_eq!(recalls, [Recall { object: object(7), up_to: held }]);
    assert_eq!(table.take_unsent(B, 2, 10), [], "it is told once");
    assert_eq!(table.take_unsent(A, 1, 10), [], "who changes it keeps it");
    assert_eq!(table.grant(B, object(7)), None, "nobody gets it before the change is over");
    table.recalled(B, recalls[0]);
    assert!(!table.awaits_others(A, &[object(7)]));
    table.end(A, &[object(7)]);
    assert!(table.grant(B, object(7)).is_some());
}

#[test]
fn two_who_change_the_same_go_on_once_both_have_forgotten() {
    let mut table = listening(10);
    let _held = [A, B].map(|session| table.grant(session, object(7)).unwrap());
    [A, B].iter().for_each(|session| table.begin(*session, &[object(7)]));
    for (session, other) in [(A, B), (B, A)] {
        assert!(table.awaits_others(session, &[object(7)]));
        assert_eq!(table.grant(session, object(7)), None);
        let recalls = table.take_unsent(other, if other == A { 1 } else { 2 }, 10);
        table.recalled(other, recalls[0]);
        assert!(!table.awaits_others(session, &[object(7)]));
    }
}

#[test]
fn a_session_without_a_stream_gets_nothing_and_hears_all_on_the_next_one() {
    let mut table = listening(10);
    table.grant(B, object(7)).unwrap();
    table.begin(A, &[object(7)]);
    assert_eq!(table.take_unsent(B, 2, 10).len(), 1);
    table.hang_up(B, 1);
    assert!(table.listens(B), "an older stream has ended");
    table.hang_up(B, 2);
    assert_eq!(table.grant(B, object(8)), None);
    assert!(table.awaits_others(A, &[object(7)]));
    table.listen(B, 3);
    assert_eq!(table.take_unsent(B, 2, 10), [], "nobody reads the older stream");
    assert_eq!(table.take_unsent(B, 3, 10).len(), 1, "it may not have arrived");
    table.forget(B);
    assert!(!table.awaits_others(A, &[object(7)]));
}

#[test]
fn the_oldest_lease_goes_for_a_new_one_beyond_the_bound() {
    let mut table = listening(2);
    for ino in [7, 8, 7, 9] {
        table.grant(A, object(ino)).unwrap();
    }
    let recalls = table.take_unsent(A, 1, 10);
    assert_eq!(recalls.iter().map(|recall| recall.object).collect::<Vec<_>>(), [object(8)]);
    // It was asked for again before the recall arrived: the newer one stays.
    let newer = table.grant(A, object(8)).unwrap().number;
    table.recalled(A, recalls[0]);
    table.begin(B, &[object(8)]);
    assert!(table.awaits_others(B, &[object(8)]));
    table.recalled(A, Recall { object: object(8), up_to: newer });
    assert!(!table.awaits_others(B, &[object(8)]));
}

#[test]
fn the_only_holder_may_have_it_exclusively_and_who_looks_asks_it_back() {
    let mut table = listening(10);
    table.grant(A, object(7)).unwrap();
    table.grant(B, object(7)).unwrap();
    assert_eq!(table.make_exclusive(A, object(7)), None, "another holds it");
    table.forget(B);
    table.listen(B, 2);
    table.begin_look(B, object(7));
    assert_eq!(table.make_exclusive(A, object(7)), None, "another is looking");
    table.end_look(B, object(7));
    assert!(table.make_exclusive(A, object(7)).is_some());
    assert!(!table.hides(A, object(7)));
    table.begin_look(A, object(7));
    assert_eq!(table.take_unsent(A, 1, 10), [], "it sees what it does itself");
    table.end_look(A, object(7));
    table.begin_look(B, object(7));
    assert!(table.hides(B, object(7)));
    let given = table.grant(A, object(7)).unwrap();
    assert!(!given.is_exclusive, "it is being asked back");
    let recalls = table.take_unsent(A, 1, 10);
    table.recalled(A, recalls[0]);
    assert!(!table.hides(B, object(7)), "a newer lease is none that hides anything");
    assert_eq!(table.make_exclusive(A, object(7)), None, "the other has not looked yet");
    table.end_look(B, object(7));
    let first = table.make_exclusive(A, object(7)).unwrap();
    table.share(A, object(7), first);
    assert!(!table.hides(B, object(7)));
    table.grant(A, object(7)).unwrap();
    assert_eq!(table.make_exclusive(A, object(7)), table.exclusive(A, object(7)));
    table.share(A, object(7), first);
    assert!(table.hides(B, object(7)), "it was closed before it was opened again");
    table.forget(A);
    assert!(!table.hides(B, object(7)));
}

/// What one client believes: a grant that arrives counts if no recall has ended it, and no newer one is there.
#[derive(Default)]
struct Client {
    kept: HashMap<Object, (Grant, bool)>,
    ended: HashMap<Object, Grant>,
    /// On their way, in any order; whether they are exclusive.
    grants: Vec<(Object, Grant, bool)>,
    recalls: Vec<Recall>,
    answers: Vec<Recall>,
}

impl Client {
    fn would_keep(&self, object: Object, grant: Grant) -> bool {
        self.ended.get(&object).is_none_or(|ended| grant > *ended)
    }

    fn obey(&mut self, recall: Recall) {
        let ended = self.ended.entry(recall.object).or_default();
        *ended = (*ended).max(recall.up_to);
        if self.kept.get(&recall.object).is_some_and(|(kept, _)| *kept <= recall.up_to) {
            self.kept.remove(&recall.object);
        }
        self.answers.push(recall);
    }

    fn relies_on(&self, object: Object) -> bool {
        self.kept.contains_key(&object)
            || self
                .grants
                .iter()
                .any(|(of, grant, _)| *of == object && self.would_keep(object, *grant))
    }

    fn hides(&self, object: Object) -> bool {
        let newest = self.kept.get(&object).map(|(grant, _)| *grant).unwrap_or_default();
        self.kept.get(&object).is_some_and(|(_, exclusive)| *exclusive)
            || self.grants.iter().any(|(of, grant, exclusive)| {
                *exclusive && *of == object && *grant > newest && self.would_keep(object, *grant)
            })
    }
}

struct World {
    random: StdRng,
    table: Table,
    clients: HashMap<SessionId, Client>,
    changes: Vec<(SessionId, Vec<Object>)>,
    looks: Vec<(SessionId, Object)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut table = Table::new(3);
        let sessions = [A, B, SessionId(3)];
        sessions.iter().for_each(|session| table.listen(*session, session.0));
        World {
            random: StdRng::seed_from_u64(seed),
            table,
            clients: sessions.iter().map(|session| (*session, Client::default())).collect(),
            changes: Vec::new(),
            looks: Vec::new(),
        }
    }

    fn pick<T>(random: &mut StdRng, from: &mut Vec<T>) -> Option<T> {
        let next = (!from.is_empty()).then(|| random.random_range(0..from.len()))?;
        Some(from.swap_remove(next))
    }

    fn step(&mut self) {
        let session = SessionId(self.random.random_range(1..4));
        let at = object(self.random.random_range(0..4));
        match self.random.random_range(0..9) {
            0..5 => self.exchange(session, at),
            5 => {
                let objects = vec![at, object(self.random.random_range(4..6))];
                self.table.begin(session, &objects);
                self.changes.push((session, objects));
            }
            6 => {
                if let Some((session, objects)) = Self::pick(&mut self.random, &mut self.changes) {
                    self.table.end(session, &objects);
                }
            }
            7 => {
                self.table.begin_look(session, at);
                self.looks.push((session, at));
            }
            _ => {
                if let Some((session, at)) = Self::pick(&mut self.random, &mut self.looks) {
                    self.table.end_look(session, at);
                }
            }
        }
    }

    /// A message of or to one client is sent, or arrives.
    fn exchange(&mut self, session: SessionId, at: Object) {
        let (table, random) = (&mut self.table, &mut self.random);
        let client = self.clients.get_mut(&session).unwrap();
        match random.random_range(0..6) {
            0 => {
                let Some(given) = table.grant(session, at) else { return };
                match random.random_range(0..4) {
                    // Some answers fail.
                    0 if given.is_first => table.withdraw(session, at, given.number),
                    0 => {}
                    1 => {
                        let exclusive = table.make_exclusive(session, at).is_some();
                        client.grants.push((at, given.number, exclusive));
                    }
                    _ => client.grants.push((at, given.number, given.is_exclusive)),
                }
            }
            1 => {
                if let Some((at, grant, exclusive)) = Self::pick(random, &mut client.grants) {
                    let newest = client.kept.get(&at).is_none_or(|(kept, _)| grant > *kept);
                    if client.would_keep(at, grant) && newest {
                        client.kept.insert(at, (grant, exclusive));
                    }
                }
            }
            2 => client.recalls.extend(table.take_unsent(session, session.0, 2)),
            3 => {
                if let Some(recall) = Self::pick(random, &mut client.recalls) {
                    client.obey(recall);
                }
            }
            4 => {
                if let Some(answer) = Self::pick(random, &mut client.answers) {
                    table.recalled(session, answer);
                }
            }
            // The last close; no answer to an open is on its way.
            _ if !client.grants.iter().any(|(of, ..)| *of == at) => {
                if let Some((_, exclusive)) = client.kept.get_mut(&at) {
                    *exclusive = false;
                }
                if let Some(since) = table.exclusive(session, at) {
                    table.share(session, at, since);
                }
            }
            _ => {}
        }
    }

    fn assert_sound(&self, when: &str) {
        for (looker, object) in &self.looks {
            let mut others = self.clients.iter().filter(|(of, _)| *of != looker);
            let hides = others.find(|(_, client)| client.hides(*object)).map(|(of, _)| of);
            if !self.table.hides(*looker, *object) {
                assert_eq!(hides, None, "{when}, {looker} looks");
            }
        }
        for (changer, objects) in &self.changes {
            if self.table.awaits_others(*changer, objects) {
                continue;
            }
            for (session, client) in self.clients.iter().filter(|(of, _)| *of != changer) {
                let relied = objects.iter().find(|object| client.relies_on(**object));
                assert_eq!(relied, None, "{when}, {session} beside {changer}");
            }
        }
    }
}

#[test]
fn nobody_relies_on_what_another_changes_or_hides_it_in_any_order_of_messages() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for step in 0..400 {
            world.step();
            world.assert_sound(&format!("seed {seed}, step {step}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_goes_on_when_the_holder_answers_or_ends_and_is_undecided_at_its_deadline() {
    let leases = Leases::default();
    let listening = leases.listen(B);
    let soon = || Instant::now() + Duration::from_secs(5);
    leases.grant(B, object(7)).unwrap();
    let refused = leases.change(A, vec![object(7)], soon()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let answer = async {
        let recalls = listening.recalls().await;
        leases.recalled(B, &recalls);
    };
    let (changing, ()) = tokio::join!(leases.change(A, vec![object(7)], soon()), answer);
    let changing = changing.unwrap();
    assert_eq!(leases.grant(B, object(7)), None);
    drop(changing);
    leases.grant(B, object(7)).unwrap();
    let end = async { leases.forget(B) };
    let (changing, ()) = tokio::join!(leases.change(A, vec![object(7)], soon()), end);
    drop(changing.unwrap());
    drop(listening);
    assert!(!leases.listens(B));
}
