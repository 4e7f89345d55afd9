//! Numbers over restarts (P5), and what their garbage is told by (R9).

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::state::Numbers;

fn reserve(world: &mut World, count: u64, restart: bool) -> NumberRange {
    match world.internal(Action::Reserve(Reserve { count, restart })).unwrap() {
        Answer::Reserved(range) => range,
        other => panic!("{other:?}"),
    }
}

fn open_with(world: &mut World, number: u64) -> Reply {
    let open = OpenSession {
        session: SessionId(number),
        client: ClientId::generate(),
        description: String::new(),
    };
    world.internal(Action::OpenSession(open))
}

#[test]
fn p5_a_restart_skips_the_rest_and_remembers_it_as_never_used() {
    let mut world = World::new();
    let range = reserve(&mut world, 10, true);
    let skipped = world.view().never_used().unwrap();
    assert_eq!(skipped, [NumberRange { start: range.start - RESERVED + 1, end: range.start }]);
    // 0 and 3 arrive, then the power goes.
    open_with(&mut world, range.start).unwrap();
    open_with(&mut world, range.start + 3).unwrap();
    let next = reserve(&mut world, 10, true);
    assert_eq!(next.start, range.end);
    let never = world.view().never_used().unwrap();
    let of = |from: u64, to: u64| NumberRange { start: range.start + from, end: range.start + to };
    assert_eq!(never[1..], [of(1, 3), of(4, 10)]);
    // Nobody may use them any more: their columns are being dropped.
    refused(open_with(&mut world, range.start + 2), &Error::Unavailable(String::new()));
    refused(open_with(&mut world, next.end), &Error::Invalid(String::new()));
}

#[test]
fn p5_numbers_that_come_late_are_used() {
    let mut world = World::new();
    let range = reserve(&mut world, 10, true);
    for late in [5, 2, 3, 1, 9, 0, 4] {
        open_with(&mut world, range.start + late).unwrap();
    }
    reserve(&mut world, 10, true);
    let never = world.view().never_used().unwrap();
    let of = |from: u64, to: u64| NumberRange { start: range.start + from, end: range.start + to };
    assert_eq!(never[1..], [of(6, 9)]);
}

#[test]
fn r9_ranges_go_when_all_targets_have_dropped_them() {
    let mut world = World::new();
    reserve(&mut world, 10, true);
    let never = world.view().never_used().unwrap();
    let wrong = NumberRange { start: never[0].start, end: never[0].end + 1 };
    world.internal(Action::ForgetNeverUsed(wrong)).unwrap();
    assert_eq!(world.view().never_used().unwrap(), never);
    world.internal(Action::ForgetNeverUsed(never[0])).unwrap();
    assert!(world.view().never_used().unwrap().is_empty());
}

#[test]
fn an_inode_number_is_not_given_twice() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    for ino in [file, Ino::ROOT, Ino(0)] {
        let (kind, name) = (FileKind::File, b"g".to_vec());
        let mknod = Mknod { parent: Ino::ROOT, name, kind, mode: 0, umask: 0, rdev: 0, ino };
        let command = world.command(Action::Mknod(mknod), None);
        let mut tx = Transaction::new(&world.kv);
        let failed = world.state.apply(command, &mut tx);
        assert!(matches!(failed, Err(Error::Internal(_))), "{failed:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    Reserve,
    /// The leader goes; what was not synced may be lost.
    Restart {
        power_cut: bool,
    },
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p5_no_number_is_handed_out_twice(
        steps in proptest::collection::vec(
            prop_oneof![
                6 => Just(Step::Take),
                2 => Just(Step::Reserve),
                1 => any::<bool>().prop_map(|power_cut| Step::Restart { power_cut }),
            ],
            1..80,
        )
    ) {
        let mut world = World::new();
        world.kv.sync().unwrap();
        let mut numbers = Numbers::new(reserve(&mut world, 3, true));
        world.kv.sync().unwrap();
        let (mut all, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut unsynced = Vec::new();
        for step in steps {
            match step {
                Step::Take => {
                    let Some(number) = numbers.take() else { continue };
                    prop_assert!(all.insert(number), "{} twice", number);
                    // Every third command never reaches the log.
                    if number % 3 != 0 {
                        let make = mknod(number);
                        world.internal(make).unwrap();
                        unsynced.push(number);
                    }
                }
                Step::Reserve => {
                    let range = reserve(&mut world, 3, false);
                    world.kv.sync().unwrap();
                    used.extend(unsynced.drain(..));
                    numbers.add(range);
                }
                Step::Restart { power_cut } => {
                    if power_cut {
                        world.kv.cut_power();
                        unsynced.clear();
                    }
                    numbers = Numbers::new(reserve(&mut world, 3, true));
                    world.kv.sync().unwrap();
                    used.extend(unsynced.drain(..));
                }
            }
        }
        // What is called never used was not, and is all that was not.
        reserve(&mut world, 3, true);
        used.extend(unsynced);
        let never: BTreeSet<u64> = world.view().never_used().unwrap()
            .into_iter().flat_map(|range| range.start..range.end).collect();
        for number in all {
            prop_assert_eq!(never.contains(&number), !used.contains(&number), "{}", number);
        }
    }
}

fn mknod(number: u64) -> Action {
    Action::Mknod(Mknod {
        parent: Ino::ROOT,
        name: number.to_string().into_bytes(),
        kind: FileKind::File,
        mode: 0,
        umask: 0,
        rdev: 0,
        ino: Ino(number),
    })
}
