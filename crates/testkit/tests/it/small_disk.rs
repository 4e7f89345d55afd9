//! A small ext4 of its own.

use std::fs;
use std::path::{Path, PathBuf};

use xtfs_testkit::run;

/// Dropping it unmounts.
pub(crate) struct SmallDisk {
    point: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    pub(crate) fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let point = folder.path().join("disk");
        fs::create_dir(&point).unwrap();
        run("truncate", &["-s", size, image.to_str().unwrap()]).ok();
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]).ok();
        run("mount", &["-o", "loop", image.to_str().unwrap(), point.to_str().unwrap()]).ok();
        SmallDisk { point, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.point.to_str().unwrap()]);
    }
}
