//! Several mounts with caches: what one has changed the others see at once, and none stops another. Longer runs: `cargo
//! xtask campaign coherence` and `crowd`.

use std::time::Duration;

use xtfs_testkit::campaign::coherence::{Crowd, Rounds, crowd, rounds};
use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::fuse_or_skip;

const UNDISTURBED: Disturbance = Disturbance::None;

#[test]
fn nothing_stale_is_seen_on_two_mounts() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 2, rounds: 500, seed: 1, disturbance: UNDISTURBED });
    }
}

#[test]
fn nothing_stale_is_seen_on_three_mounts() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 3, rounds: 500, seed: 2, disturbance: UNDISTURBED });
    }
}

#[test]
fn nothing_stale_is_seen_while_services_are_killed() {
    if fuse_or_skip() {
        rounds(Rounds { mounts: 2, rounds: 300, seed: 3, disturbance: Disturbance::Every(300) });
    }
}

#[test]
fn clients_in_one_directory_do_not_stop_each_other() {
    if fuse_or_skip() {
        for clients in [1, 2, 4, 8] {
            let plan = Crowd {
                clients,
                operations_each: 400,
                time: Duration::ZERO,
                seed: 10,
                disturbance: UNDISTURBED,
            };
            println!("{}", crowd(plan));
        }
    }
}

#[test]
fn clients_in_one_directory_go_on_when_services_are_killed() {
    if fuse_or_skip() {
        let plan = Crowd {
            clients: 3,
            operations_each: 600,
            time: Duration::ZERO,
            seed: 20,
            disturbance: Disturbance::Once,
        };
        println!("{}", crowd(plan));
    }
}
