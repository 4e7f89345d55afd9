//! umount.xtfs.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtfs_client_fuse::umount_main()
}
