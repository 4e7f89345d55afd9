//! Suites that we did not write, and random operations beside a model. Longer runs: `cargo xtask campaign`.

use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::campaign::{beside_model, dbench, stress, suites};
use xtfs_testkit::exerciser::{LockFault, LockPlan, exercise_locks};
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
        suites::fsx(suites::Striped::start(), 3_000, 1, Disturbance::None);
    }
}

#[test]
fn three_mounts_are_as_the_model() {
    if fuse_or_skip() {
        beside_model::exerciser(4_000, 1, Disturbance::None);
    }
}

#[test]
fn three_mounts_are_as_the_model_while_services_are_killed() {
    if fuse_or_skip() {
        beside_model::exerciser(2_000, 2, Disturbance::Every(200));
    }
}

#[test]
fn mounts_take_turns_on_one_file() {
    if fuse_or_skip() {
        beside_model::turns(300, 1, Disturbance::None);
    }
}

#[test]
fn mounts_take_turns_on_one_file_while_services_are_killed() {
    if fuse_or_skip() {
        beside_model::turns(300, 2, Disturbance::Once);
    }
}

#[test]
fn locks_of_three_mounts_are_as_the_model() {
    if fuse_or_skip() {
        beside_model::locks(2_000, 1, Disturbance::None);
    }
}

#[test]
fn locks_of_three_mounts_are_as_the_model_while_services_are_killed() {
    if fuse_or_skip() {
        beside_model::locks(1_000, 2, Disturbance::Once);
    }
}

fn local_locks(seed: u64, fault: Option<LockFault>) -> Result<(), String> {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let folders = vec![folder.path().to_owned(); 2];
    exercise_locks(&LockPlan { folders, processes_per_folder: 2, seed, operations: 5_000, fault })
}

/// What the model holds for right is what the kernel does.
#[test]
fn locks_of_a_local_file_system_are_as_the_model() {
    for seed in 1..4 {
        local_locks(seed, None).unwrap_or_else(|difference| panic!("seed {seed}:\n{difference}"));
    }
}

#[test]
fn faults_of_locks_are_found() {
    for fault in [LockFault::NotTaken, LockFault::NotGivenBack, LockFault::TooMuch] {
        assert!(local_locks(1, Some(fault)).is_err(), "{fault:?} is not found");
    }
}

#[test]
fn fsx_finds_no_difference_while_services_are_killed() {
    if fuse_or_skip() {
        suites::fsx(suites::Striped::start(), 4_000, 2, Disturbance::Once);
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
    stress(&["iomix", "dentry"], 4, Disturbance::Once);
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
    dbench(Disturbance::Once);
}
