//! From a path on a mount to its volume and inode, without writing to it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xtfs_client::{Admin, MountSpec, VolumeInfo};
use xtfs_core::Ino;
use xtfs_rpc::Failure;

/// A file or directory on a mounted volume.
#[derive(Debug)]
pub(crate) struct MountedFile {
    pub admin: Admin,
    pub volume: VolumeInfo,
    pub ino: Ino,
    pub is_dir: bool,
}

impl MountedFile {
    pub(crate) async fn find(path: &Path, timeout: Duration) -> Result<Self, Failure> {
        let cannot = |err| Failure::new(format!("{}: {err}", path.display()), "is it there?");
        let metadata = fs::symlink_metadata(path).map_err(cannot)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|err| {
            Failure::new(format!("read /proc/self/mountinfo: {err}"), "is /proc mounted?")
        })?;
        let source = source_of_device(&mounts, metadata.dev()).ok_or_else(|| {
            let text = format!("{} is not on a volume of xtfs", path.display());
            Failure::new(text, "findmnt -t fuse.xtfs shows what is mounted")
        })?;
        let spec: MountSpec = source.parse().map_err(|err| {
            Failure::new(format!("the mount of {}: {err}", path.display()), "mount it again")
        })?;
        let admin = Admin::connect(spec.dirs(), timeout).await?;
        let volume = admin.volume(spec.volume()).await?;
        let (ino, is_dir) = (Ino(metadata.ino()), metadata.is_dir());
        Ok(MountedFile { admin, volume, ino, is_dir })
    }
}

/// Source of the xtfs mount that is device `dev`, as `/proc/self/mountinfo` has it.
fn source_of_device(mountinfo: &str, dev: u64) -> Option<String> {
    let device = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
    mountinfo.lines().find_map(|line| {
        // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS… - TYPE SOURCE OPTIONS
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let ours = left.split(' ').nth(2)? == device && right.next()? == "fuse.xtfs";
        if ours { right.next().map(unescape) } else { None }
    })
}

/// Blanks and the like stand as `\040` there.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// For messages.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device() {
        let mountinfo = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
             90 22 0:52 / /mnt rw,nosuid shared:1 - fuse.xtfs meta1:1/a\\040b rw,user_id=0\n";
        let dev = |major, minor| rustix::fs::makedev(major, minor);
        assert_eq!(source_of_device(mountinfo, dev(0, 52)).as_deref(), Some("meta1:1/a b"));
        assert_eq!(source_of_device(mountinfo, dev(254, 0)), None);
    }
}
