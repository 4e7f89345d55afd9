//! What a suite is run on beside xtfs, to tell its faults from ours.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::suites::sh;
use crate::run;

/// An ext4 in a file, whatever the temporary folder lies on. Dropping it unmounts.
#[derive(Debug)]
pub(super) struct Ext4 {
    folder: TempDir,
}

impl Ext4 {
    #[track_caller]
    pub(super) fn new() -> Self {
        let ext4 = Ext4 { folder: TempDir::with_prefix("xtfs-ext4-").expect("a temporary folder") };
        let image = ext4.folder.path().join("image");
        fs::create_dir(ext4.path()).expect("a folder");
        sh(&format!("truncate -s 16G {0} && mkfs.ext4 -q -F {0}", image.display()));
        sh(&format!("mount -o loop {} {}", image.display(), ext4.path().display()));
        ext4
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        run("umount", &["-l".as_ref(), self.path().as_os_str()]);
    }
}
