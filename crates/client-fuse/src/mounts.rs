//! What is mounted where, as /proc/self/mountinfo says: no path is touched, so a dead mount cannot hang the reader.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// How the kernel names our mounts.
pub const FILE_SYSTEM_TYPE: &str = "fuse.xtfs";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    pub(crate) device: Device,
    pub(crate) mountpoint: PathBuf,
    pub(crate) file_system: String,
    pub(crate) source: OsString,
    /// Who mounted it.
    pub(crate) user: u32,
}

/// Device number of a mount. Its minor number is also the name of the FUSE connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl MountEntry {
    pub(crate) fn is_ours(&self) -> bool {
        self.file_system == FILE_SYSTEM_TYPE
    }
}

impl Device {
    /// Process id and lock of the mount's process.
    pub(crate) fn pid_file(self, user: u32) -> PathBuf {
        let directory = match user {
            0 => PathBuf::from("/run/xtfs"),
            user => PathBuf::from(format!("/run/user/{user}/xtfs")),
        };
        directory.join(format!("mount-{}-{}.pid", self.major, self.minor))
    }
}

/// All mounts, in the order in which they were made.
pub(crate) fn list() -> io::Result<Vec<MountEntry>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// The mount that is seen at a path.
pub(crate) fn topmost(mountpoint: &Path) -> io::Result<Option<MountEntry>> {
    Ok(list()?.into_iter().rev().find(|entry| entry.mountpoint == mountpoint))
}

/// `36 35 98:0 /root /mnt rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
    let mountpoint = unescape(fields.nth(1)?).into();
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    let options = String::from_utf8_lossy(fields.next().unwrap_or_default());
    let user = options.split(',').find_map(|option| option.strip_prefix("user_id="));
    let user = user.and_then(|user| user.parse().ok()).unwrap_or(0);
    Some(MountEntry { device, mountpoint, file_system, source, user })
}

/// The kernel writes space, tab, newline and backslash as `\040`.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = |digit: &u8| u32::from(digit.wrapping_sub(b'0'));
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                let value = octal(a) * 64 + octal(b) * 8 + octal(c);
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood() {
        let line = b"97 27 0:52 / /mnt/a\\040b\\134 rw,relatime shared:3 master:1 - fuse.xtfs \
            m,n/v rw,user_id=1000,group_id=0,default_permissions";
        let entry = parse_line(line).unwrap();
        assert_eq!(entry.device, Device { major: 0, minor: 52 });
        assert_eq!(entry.mountpoint, Path::new("/mnt/a b\\"));
        assert_eq!((entry.is_ours(), entry.user), (true, 1000));
        assert_eq!(entry.source, "m,n/v");
        assert_eq!(entry.device.pid_file(0), Path::new("/run/xtfs/mount-0-52.pid"));
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"1 2 x:y / / rw - ext4 a rw"), None);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(topmost(Path::new("/")).unwrap().is_some());
    }
}
