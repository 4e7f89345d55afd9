//! The table against what a server would say, in every order of answers, recalls and changes of our own.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xtfs_core::{ColumnIndex, Ino, Timestamp};

use super::table::{Described, Lease, Name, Table, Tick};
use crate::attributes::{Attributes, DirectoryEntry, FileKind};

const DIR: Ino = Ino(1);
const FILE: Ino = Ino(7);

fn attributes(ino: Ino, change: u64) -> Attributes {
    Attributes {
        ino,
        generation: 1,
        kind: if ino == DIR { FileKind::Directory } else { FileKind::File },
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        allocated: 0,
        atime: Timestamp(0),
        mtime: Timestamp(0),
        ctime: Timestamp(0),
        btime: Timestamp(0),
        change,
        rdev: 0,
        stripe_size: 4096,
    }
}

fn described(ino: Ino, change: u64, grant: u64) -> Described {
    Described { attributes: attributes(ino, change), lease: Lease { grant, ..Lease::default() } }
}

fn change_of(table: &Table, ino: Ino) -> Option<u64> {
    table.kept(ino).map(|kept| kept.attributes.change)
}

#[test]
fn a_recall_ends_what_it_overtakes() {
    let mut table = Table::default();
    assert!(table.learn(table.now(), described(FILE, 1, 5)));
    table.recall(FILE, 6);
    assert_eq!(change_of(&table, FILE), None);
    assert!(!table.learn(table.now(), described(FILE, 1, 6)), "it was on its way");
    assert!(table.learn(table.now(), described(FILE, 2, 7)));
    table.recall(FILE, 6);
    assert_eq!(change_of(&table, FILE), Some(2), "a newer lease stays");
}

#[test]
fn an_answer_to_what_was_asked_before_our_change_had_ended_is_old() {
    let mut table = Table::default();
    let asked = table.now();
    assert!(table.changed(asked, FILE, Some(described(FILE, 2, 2))));
    assert!(!table.learn(asked, described(FILE, 1, 1)));
    assert!(!table.learn(asked, described(FILE, 1, 3)), "whatever its number");
    assert_eq!(change_of(&table, FILE), Some(2));
}

#[test]
fn two_changes_of_ours_at_once_leave_nothing_known() {
    let mut table = Table::default();
    let (a, b) = (table.now(), table.now());
    assert!(table.changed(a, FILE, Some(described(FILE, 2, 2))));
    assert!(!table.changed(b, FILE, Some(described(FILE, 3, 3))));
    assert_eq!(change_of(&table, FILE), None);
    assert!(!table.changed(table.now(), FILE, None), "nor one that is not described");
}

#[test]
fn names_are_known_one_by_one_and_absent_where_all_are() {
    let mut table = Table::default();
    table.name(DIR, "a".into(), Name::Leads(FILE));
    assert_eq!(table.look_up(DIR, b"a"), None, "the directory is not kept");
    table.learn(table.now(), described(DIR, 1, 1));
    table.name(DIR, "a".into(), Name::Leads(FILE));
    table.name(DIR, "b".into(), Name::Absent);
    assert_eq!(table.look_up(DIR, b"a"), Some(Name::Leads(FILE)));
    assert_eq!(table.look_up(DIR, b"b"), Some(Name::Absent));
    assert_eq!(table.look_up(DIR, b"c"), None);
    let entry = DirectoryEntry {
        name: "a".into(),
        ino: FILE,
        kind: FileKind::File,
        cookie: 3,
        attributes: None,
    };
    table.list(DIR, DIR, [entry].into());
    assert_eq!(table.look_up(DIR, b"c"), Some(Name::Absent));
    assert_eq!(table.listing(DIR).unwrap().len(), 1);
    // Of our own, from now on the listing is old, but the names are known.
    assert!(table.changed(table.now(), DIR, Some(described(DIR, 2, 2))));
    table.name(DIR, "c".into(), Name::Leads(Ino(8)));
    table.name(DIR, "a".into(), Name::Absent);
    assert!(table.listing(DIR).is_none());
    assert_eq!(table.look_up(DIR, b"c"), Some(Name::Leads(Ino(8))));
    assert_eq!(table.look_up(DIR, b"a"), Some(Name::Absent));
    assert_eq!(table.look_up(DIR, b"d"), Some(Name::Absent));
    table.forget_name(DIR, b"c");
    assert_eq!((table.look_up(DIR, b"c"), table.look_up(DIR, b"d")), (None, None));
}

#[test]
fn a_listing_is_not_whole_while_a_name_that_it_lacks_is_known() {
    let mut table = Table::default();
    table.learn(table.now(), described(DIR, 1, 1));
    table.name(DIR, "gone".into(), Name::Absent);
    table.list(DIR, DIR, [].into());
    assert_eq!(table.look_up(DIR, b"gone"), Some(Name::Absent));
    assert_eq!(table.look_up(DIR, b"other"), Some(Name::Absent));
    assert_eq!(table.look_up(DIR, b".."), None);
}

#[test]
fn our_writes_are_seen_at_once_and_an_older_answer_does_not_undo_them() {
    let mut table = Table::default();
    let mut first = described(FILE, 1, 1);
    first.lease.allocated = vec![0, 0];
    assert!(table.learn(table.now(), first));
    let asked = table.now();
    let times = (Timestamp(50), Timestamp(60));
    table.wrote(FILE, 5000, times, [(ColumnIndex(1), 4096)].into_iter());
    let kept = &table.kept(FILE).unwrap().attributes;
    assert_eq!((kept.size, kept.allocated, kept.mtime, kept.ctime), (5000, 4096, times.0, times.0));
    assert!(!table.learn(asked, described(FILE, 1, 2)));
    assert_eq!(table.kept(FILE).unwrap().attributes.size, 5000);
    // A column that we know nothing of.
    table.wrote(FILE, 5000, times, [(ColumnIndex(7), 4096)].into_iter());
    assert_eq!(change_of(&table, FILE), None);
}

#[test]
fn a_time_that_was_set_ahead_goes_with_the_next_write() {
    let mut table = Table::default();
    let mut ahead = described(FILE, 1, 1);
    ahead.attributes.mtime = Timestamp(1_000);
    ahead.lease.allocated = vec![0];
    table.learn(table.now(), ahead);
    table.wrote(FILE, 1, (Timestamp(50), Timestamp(60)), [(ColumnIndex(0), 1)].into_iter());
    assert_eq!(table.kept(FILE).unwrap().attributes.mtime, Timestamp(50));
}

#[test]
fn attributes_by_name_are_known_until_the_inode_changes() {
    let mut table = Table::default();
    table.learn(table.now(), described(FILE, 1, 1));
    let under = table.under(FILE).unwrap();
    table.learn_xattr(FILE, under, "user.a".into(), None);
    assert_eq!(table.xattr(FILE, b"user.a"), Some(None));
    assert!(table.changed(table.now(), FILE, Some(described(FILE, 2, 2))));
    assert_eq!(table.xattr(FILE, b"user.a"), None);
    table.learn_xattr(FILE, under, "user.a".into(), None);
    assert_eq!(table.xattr(FILE, b"user.a"), None, "it was asked before");
}

#[test]
fn the_kernels_data_is_current_from_the_second_open_under_one_lease() {
    let mut table = Table::default();
    assert!(!table.data_is_current(FILE));
    table.learn(table.now(), described(FILE, 1, 1));
    assert!(!table.data_is_current(FILE));
    assert!(table.data_is_current(FILE));
    table.recall(FILE, 1);
    table.learn(table.now(), described(FILE, 1, 2));
    assert!(!table.data_is_current(FILE));
}

/// A server with one number for each of some inodes, which we and others raise.
#[derive(Default)]
struct Server {
    values: HashMap<Ino, u64>,
    last_grant: u64,
    /// The lease that others must recall, by inode.
    granted: HashMap<Ino, u64>,
}

enum Flight {
    /// Asked at a time; the answer with its lease.
    Answer(Tick, Described),
    /// A change of ours, carried out; with its answer.
    Change(Tick, Described),
}

#[test]
fn what_is_kept_is_what_the_server_has_unless_our_own_change_is_on_its_way() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut server, mut table) = (Server::default(), Table::default());
        let mut flights: Vec<Flight> = Vec::new();
        for step in 0..300 {
            let ino = Ino(random.random_range(2..5));
            let describe = |server: &mut Server| {
                server.last_grant += 1;
                server.granted.insert(ino, server.last_grant);
                described(ino, *server.values.entry(ino).or_insert(1), server.last_grant)
            };
            match random.random_range(0..5) {
                0 => {
                    let asked = table.now();
                    flights.push(Flight::Answer(asked, describe(&mut server)));
                }
                1 => {
                    let asked = table.now();
                    *server.values.entry(ino).or_insert(1) += 1;
                    flights.push(Flight::Change(asked, describe(&mut server)));
                }
                2 => {
                    // Somebody else changes it: not before we have forgotten.
                    if let Some(grant) = server.granted.remove(&ino) {
                        table.recall(ino, grant);
                    }
                    *server.values.entry(ino).or_insert(1) += 1;
                }
                _ if !flights.is_empty() => {
                    match flights.swap_remove(random.random_range(0..flights.len())) {
                        Flight::Answer(asked, described) => {
                            table.learn(asked, described);
                        }
                        Flight::Change(asked, described) => {
                            table.changed(asked, described.attributes.ino, Some(described));
                        }
                    }
                }
                _ => {}
            }
            for ino in (2..5).map(Ino) {
                let under_way = flights.iter().any(
                    |flight| matches!(flight, Flight::Change(_, it) if it.attributes.ino == ino),
                );
                if !under_way && let Some(kept) = change_of(&table, ino) {
                    assert_eq!(kept, server.values[&ino], "seed {seed}, step {step}, {ino}");
                }
            }
        }
    }
}
