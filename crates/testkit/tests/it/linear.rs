//! What three mounts do at once can be put in one order. Longer runs: `cargo xtask campaign linear`.

use xtfs_testkit::campaign::linear::{Figures, Plan, run};
use xtfs_testkit::fuse_or_skip;
use xtfs_testkit::linear::Mix;

#[track_caller]
fn names(histories: u32, seed: u64, kill: Option<u64>) -> Figures {
    let (calls, options) = (500, Vec::new());
    let plan = Plan { histories, seed, calls, threads: 3, mix: Mix::Names, kill, options };
    let figures = run(&plan);
    println!("{figures}");
    assert!(figures.rejected.is_empty(), "{plan:?}: {:?}", figures.rejected);
    assert_eq!(figures.accepted, histories);
    figures
}

#[test]
fn names_change_in_one_order_on_three_mounts() {
    if fuse_or_skip() {
        names(12, 1, None);
    }
}

#[test]
fn names_change_in_one_order_while_services_and_a_client_are_killed() {
    if fuse_or_skip() {
        let figures = names(2, 1000, Some(100));
        assert!(figures.kills.iter().sum::<u32>() > 0, "{figures}");
    }
}
