//! Trees of files: made from a seed, and compared to the last byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::programs::run;

/// Fills `root` with `files` files of all sizes in nested folders, with symlinks among them.
pub fn make(root: &Path, files: u32, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..files {
        let folder =
            root.join(format!("d{}/e{}", random.random_range(0..8), random.random_range(0..4)));
        fs::create_dir_all(&folder).expect("make a folder");
        let path = folder.join(format!("f{number}"));
        if random.random_ratio(1, 10) {
            symlink(format!("../../f{number}"), &path).expect("make a symlink");
            continue;
        }
        let size = match random.random_range(0..10) {
            0 => 0,
            1..=6 => random.random_range(1..20_000),
            7..=8 => random.random_range(20_000..600_000),
            _ => random.random_range(600_000..3_000_000),
        };
        fs::write(&path, bytes(size, seed ^ u64::from(number))).expect("write a file");
        let mode = [0o644, 0o600, 0o755, 0o444][random.random_range(0..4)];
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set the mode");
    }
}

/// Bytes that depend on the seed alone.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut data = vec![0; len];
    StdRng::seed_from_u64(seed).fill(&mut data[..]);
    data
}

/// Same names, bytes, modes, owners, link targets and modification times.
#[track_caller]
pub fn assert_equal(left: &Path, right: &Path) {
    let paths: [&std::ffi::OsStr; 4] =
        ["-r".as_ref(), "--no-dereference".as_ref(), left.as_os_str(), right.as_os_str()];
    run("diff", &paths).ok();
    compare_metadata(left, right);
}

#[track_caller]
fn compare_metadata(left: &Path, right: &Path) {
    for entry in fs::read_dir(left).expect("list") {
        let name = entry.expect("list").file_name();
        let (left, right) = (left.join(&name), right.join(&name));
        let of = |path: &Path| {
            let data = fs::symlink_metadata(path).expect("stat");
            let time = (!data.is_dir()).then(|| (data.mtime(), data.mtime_nsec()));
            let size = data.is_file().then(|| data.size());
            (data.mode(), data.uid(), data.gid(), size, time)
        };
        assert_eq!(of(&left), of(&right), "{} and {}", left.display(), right.display());
        if fs::symlink_metadata(&left).expect("stat").is_dir() {
            compare_metadata(&left, &right);
        }
    }
}
