//! mount.xtfs.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtfs_client_fuse::mount_main()
}
