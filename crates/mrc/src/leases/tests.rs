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

/// What one client believes: a grant that arrives counts if no recall has ended it.
#[derive(Default)]
struct Client {
    kept: HashMap<Object, Grant>,
    ended: HashMap<Object, Grant>,
    /// On their way, in any order.
    grants: Vec<(Object, Grant)>,
    recalls: Vec<Recall>,
    answers: Vec<Recall>,
}

impl Client {
    fn would_keep(&self, object: Object, grant: Grant) -> bool {
        self.ended.get(&object).is_none_or(|ended| grant > *ended)
    }

    fn relies_on(&self, object: Object) -> bool {
        self.kept.contains_key(&object)
            || self
                .grants
                .iter()
                .any(|(of, grant)| *of == object && self.would_keep(object, *grant))
    }
}

#[test]
fn nobody_relies_on_what_another_changes_in_any_order_of_messages() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut table = Table::new(3);
        let sessions = [A, B, SessionId(3)];
        sessions.iter().for_each(|session| table.listen(*session, session.0));
        let mut clients: HashMap<_, _> =
            sessions.iter().map(|session| (*session, Client::default())).collect();
        let mut changes: Vec<(SessionId, Vec<Object>)> = Vec::new();
        for step in 0..400 {
            let session = sessions[random.random_range(0..sessions.len())];
            let client = clients.get_mut(&session).unwrap();
            let at = object(random.random_range(0..4));
            match random.random_range(0..8) {
                0 | 1 => {
                    if let Some(given) = table.grant(session, at) {
                        // Some answers fail.
                        match random.random_range(0..4) {
                            0 if given.is_first => table.withdraw(session, at, given.number),
                            0 => {}
                            _ => client.grants.push((at, given.number)),
                        }
                    }
                }
                2 if !client.grants.is_empty() => {
                    let next = random.random_range(0..client.grants.len());
                    let (at, grant) = client.grants.swap_remove(next);
                    if client.would_keep(at, grant) {
                        client.kept.insert(at, grant);
                    }
                }
                3 => client.recalls.extend(table.take_unsent(session, session.0, 2)),
                4 if !client.recalls.is_empty() => {
                    let next = random.random_range(0..client.recalls.len());
                    let recall = client.recalls.swap_remove(next);
                    let ended = client.ended.entry(recall.object).or_default();
                    *ended = (*ended).max(recall.up_to);
                    if client.kept.get(&recall.object).is_some_and(|kept| *kept <= recall.up_to) {
                        client.kept.remove(&recall.object);
                    }
                    client.answers.push(recall);
                }
                5 if !client.answers.is_empty() => {
                    let next = random.random_range(0..client.answers.len());
                    table.recalled(session, client.answers.swap_remove(next));
                }
                6 => {
                    let objects = vec![at, object(random.random_range(4..6))];
                    table.begin(session, &objects);
                    changes.push((session, objects));
                }
                7 if !changes.is_empty() => {
                    let (session, objects) =
                        changes.swap_remove(random.random_range(0..changes.len()));
                    table.end(session, &objects);
                }
                _ => {}
            }
            for (changer, objects) in &changes {
                if table.awaits_others(*changer, objects) {
                    continue;
                }
                for (session, client) in clients.iter().filter(|(of, _)| *of != changer) {
                    let relied = objects.iter().find(|object| client.relies_on(**object));
                    assert_eq!(
                        relied, None,
                        "seed {seed}, step {step}, {session} beside {changer}"
                    );
                }
            }
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
