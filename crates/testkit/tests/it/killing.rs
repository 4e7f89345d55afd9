//! kill -9 of each service under load: a pause, and nothing that was acknowledged is lost.

use xtfs_testkit::campaign::kills::{Plan, Victim, run};
use xtfs_testkit::fuse_or_skip;

fn check(victim: Victim) {
    if fuse_or_skip() {
        println!("{}", run(Plan { victim, kills: 4, seed: 1 }));
    }
}

#[test]
fn a_killed_osd_is_a_pause() {
    check(Victim::Osd);
}

#[test]
fn a_killed_dir_is_not_noticed() {
    check(Victim::Dir);
}

#[test]
fn a_killed_mrc_is_a_pause() {
    check(Victim::Mrc);
}
