//! Suites that we did not write, and random operations beside a model. Longer runs: `cargo xtask campaign`.

use xtfs_testkit::campaign::suites::{self, Disturbance};
use xtfs_testkit::campaign::{dbench, stress};
use xtfs_testkit::fuse_or_skip;

#[test]
fn pjdfstest_passes() {
    if fuse_or_skip() {
        println!("{}", suites::pjdfstest(Disturbance::None));
    }
}

#[test]
fn fsx_finds_no_difference() {
    if fuse_or_skip() {
        suites::fsx(3_000, 1, Disturbance::None);
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

#[test]
fn fsx_finds_no_difference_while_services_are_killed() {
    if fuse_or_skip() {
        suites::fsx(4_000, 2, Disturbance::Kills);
    }
}

fn stress(only: &[&str], seconds: u32, disturbance: Disturbance) {
    if fuse_or_skip() {
        let only = only.iter().map(|&name| name.to_owned()).collect();
        stress::run_plan(&stress::Plan { only, seconds, seed: 1, disturbance });
    }
}

#[test]
fn stressors_that_pass_on_ext4_pass() {
    // Names, data, attributes and locks.
    stress(&["rename", "fallocate", "xattr", "lockf"], 2, Disturbance::None);
}

#[test]
fn stressors_pass_while_services_are_killed() {
    stress(&["iomix", "dentry"], 4, Disturbance::Kills);
}

fn dbench(disturbance: Disturbance) {
    if fuse_or_skip() {
        println!("{}", dbench::run_plan(dbench::Plan { seconds: 4, clients: 4, disturbance }));
    }
}

#[test]
fn dbench_passes() {
    dbench(Disturbance::None);
}

#[test]
fn dbench_passes_while_services_are_killed() {
    dbench(Disturbance::Kills);
}
