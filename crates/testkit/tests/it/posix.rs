//! Suites that we did not write, and random operations beside a model. Longer runs: `cargo xtask campaign`.

use xtfs_testkit::campaign::suites::{self, Disturbance};
use xtfs_testkit::fuse_or_skip;

#[test]
fn pjdfstest_passes() {
    if fuse_or_skip() {
        println!("{}", suites::pjdfstest());
    }
}

#[test]
fn fsx_finds_no_difference() {
    if fuse_or_skip() {
        suites::fsx(3_000, 1);
    }
}

#[test]
fn three_mounts_are_as_the_model() {
    if fuse_or_skip() {
        suites::exerciser(4_000, 1, Disturbance::None);
    }
}

#[test]
fn three_mounts_are_as_the_model_while_services_are_killed() {
    if fuse_or_skip() {
        suites::exerciser(2_000, 2, Disturbance::Kills);
    }
}
