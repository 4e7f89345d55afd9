//! Programs that people use, on a striped volume.

use xtfs_testkit::campaign::suites::{Striped, applications};
use xtfs_testkit::fuse_or_skip;

#[test]
fn git_sqlite_rsync_tar_and_disk_images_work() {
    if !fuse_or_skip() {
        return;
    }
    let striped = Striped::start();
    applications(striped.mount.path());
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}
