//! The power goes: what fsync acknowledged is there.

use xtfs_testkit::campaign::power_cuts::{Plan, run_plan};
use xtfs_testkit::fuse_or_skip;

#[test]
fn what_was_synced_survives_a_power_cut() {
    if fuse_or_skip() {
        println!("{}", run_plan(Plan { cuts: 2, seed: 1 }));
    }
}
