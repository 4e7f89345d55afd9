//! Directories with many entries. At length: `cargo xtask campaign entries`.

use xtfs_testkit::campaign::entries::{Plan, run};
use xtfs_testkit::fuse_or_skip;

#[test]
fn a_listing_has_what_stayed_once_and_goes_on_from_where_it_was() {
    if fuse_or_skip() {
        println!("{}", run(Plan { entries: 20_000, seed: 1 }));
    }
}
