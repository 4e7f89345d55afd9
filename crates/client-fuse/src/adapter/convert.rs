//! Our types as fuser's and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use xtfs_client::{Attributes, FileKind, OpenFlags, Reshape, SetTime};
use xtfs_core::Timestamp;

/// `st_blksize`: stripes of 64 MiB would make programs allocate such buffers.
const BLOCK_SIZE_MIN: u32 = 4096;
const BLOCK_SIZE_MAX: u32 = 1 << 20;
/// `FMODE_EXEC`: the kernel opens to execute.
const OPEN_EXECUTE: i32 = 0x20;

pub(super) fn file_attr(ino: u64, attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: attributes.size,
        blocks: attributes.allocated.div_ceil(512),
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime),
        kind: file_type(attributes.kind),
        perm: u16::try_from(attributes.mode & 0o7777).unwrap_or(0),
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: attributes.stripe_size.clamp(BLOCK_SIZE_MIN, BLOCK_SIZE_MAX),
        flags: 0,
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// Of the type bits in the mode of mknod(2); directories and symlinks have calls of their own.
pub(super) fn node_kind(mode: u32) -> Option<FileKind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(FileKind::File),
        libc::S_IFIFO => Some(FileKind::Fifo),
        libc::S_IFSOCK => Some(FileKind::Socket),
        libc::S_IFCHR => Some(FileKind::CharDevice),
        libc::S_IFBLK => Some(FileKind::BlockDevice),
        _ => None,
    }
}

/// As of open(2). Appending is decided at each write, which carries the flags as fcntl(2) left them.
pub(super) fn open_flags(flags: i32, sync: bool) -> OpenFlags {
    // The mode without a name asks for both rights, as on Linux.
    let mode = flags & libc::O_ACCMODE;
    OpenFlags {
        read: mode != libc::O_WRONLY,
        write: mode != libc::O_RDONLY,
        append: false,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        execute: flags & OPEN_EXECUTE != 0,
        sync: sync || flags & libc::O_DSYNC != 0,
        direct: flags & libc::O_DIRECT != 0,
    }
}

/// Of the mode of fallocate(2). `None`: one that moves data, or is not known.
pub(super) fn reshape(mode: i32) -> Option<Reshape> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Some(Reshape::Allocate { keep_size }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Some(Reshape::Punch),
        libc::FALLOC_FL_ZERO_RANGE => Some(Reshape::Zero { keep_size }),
        _ => None,
    }
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// Before 1970 fuser 0.18 subtracts the nanoseconds, which count forward from the second: they are turned round here.
fn timestamp(time: SystemTime) -> Timestamp {
    let nanos = |seconds: i128, nanos: u32| {
        let clamped = (seconds * 1_000_000_000 + i128::from(nanos))
            .clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp(i64::try_from(clamped).unwrap_or(i64::MAX))
    };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(i128::from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            nanos(-i128::from(before.as_secs()), before.subsec_nanos())
        }
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser 0.18 makes of what the kernel sends.
    fn received(seconds: i64, nanos: u32) -> SystemTime {
        if seconds >= 0 {
            UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), nanos)
        } else {
            UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), nanos)
        }
    }

    #[test]
    fn times_round_trip_also_before_1970() {
        #[track_caller]
        fn check(seconds: i64, nanos: u32, expected: i64) {
            assert_eq!(timestamp(received(seconds, nanos)), Timestamp(expected));
        }
        check(0, 1, 1);
        check(1, 500, 1_000_000_500);
        // One and two tenths of a second before 1970.
        check(-2, 800_000_000, -1_200_000_000);
        check(-1, 0, -1_000_000_000);
        check(-1, 999_999_999, -1);
        check(i64::MAX, 0, i64::MAX);
        check(i64::MIN + 1, 0, i64::MIN);
        for time in [i64::MIN, -1_200_000_000, -1, 0, 1, i64::MAX] {
            let shown = system_time(Timestamp(time));
            let nanos = match shown.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).unwrap(),
                Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap(),
            };
            assert_eq!(nanos, i128::from(time));
        }
    }

    #[test]
    fn open_flags_are_those_of_open() {
        let flags = open_flags(libc::O_RDWR | libc::O_TRUNC | libc::O_SYNC, false);
        assert!(flags.read && flags.write && flags.truncate && flags.sync);
        let flags = open_flags(libc::O_WRONLY | libc::O_APPEND, false);
        assert!(!flags.read && flags.write && !flags.append && !flags.sync);
        let flags = open_flags(libc::O_ACCMODE, false);
        assert!(flags.read && flags.write);
        let flags = open_flags(OPEN_EXECUTE, true);
        assert!(flags.read && !flags.write && flags.execute && flags.sync);
    }

    #[test]
    fn modes_of_fallocate_that_move_data_are_refused() {
        assert_eq!(reshape(0), Some(Reshape::Allocate { keep_size: false }));
        assert_eq!(reshape(1), Some(Reshape::Allocate { keep_size: true }));
        assert_eq!(reshape(3), Some(Reshape::Punch));
        assert_eq!(reshape(0x10), Some(Reshape::Zero { keep_size: false }));
        assert_eq!(reshape(0x11), Some(Reshape::Zero { keep_size: true }));
        for mode in [2, 8, 0x20, 0x40, 0x12, 1 << 20] {
            assert_eq!(reshape(mode), None, "{mode:#x}");
        }
    }

    #[test]
    fn nodes_have_the_kind_of_their_mode() {
        assert_eq!(node_kind(0o644), Some(FileKind::File));
        assert_eq!(node_kind(libc::S_IFIFO | 0o600), Some(FileKind::Fifo));
        assert_eq!(node_kind(libc::S_IFDIR), None);
    }
}
