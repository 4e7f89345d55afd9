//! The same operations as calls of the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::calls::{rename, set_mtime, truncate};
use super::locked::range;
use super::model::filling;
use super::op::{Flags, Kind, Onto, Op, Outcome, Ranges, Room, Slot, Sought, Stat, XattrMode};
use crate::lock;

/// Whoever can be asked for an outcome.
pub(super) trait System {
    fn perform(&mut self, mount: usize, op: &Op) -> Outcome;
}

/// One folder, as several mounts show it.
#[derive(Debug)]
pub(super) struct Kernel {
    folders: Vec<PathBuf>,
    open: BTreeMap<Slot, File>,
}

impl Kernel {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Kernel { folders, open: BTreeMap::new() }
    }

    fn act(&mut self, mount: usize, op: &Op) -> Result<Outcome, Errno> {
        let at = |path: &str| self.folders[mount].join(path);
        match op {
            Op::Open { slot, path, flags, mode } => {
                let file = rustix::fs::open(at(path), oflags(*flags), Mode::from_raw_mode(*mode))?;
                self.open.insert(*slot, file.into());
            }
            Op::Close { slot } => drop(self.open.remove(slot)),
            Op::Read { slot, offset, len } => return self.read(*slot, *offset, *len),
            Op::Write { slot, offset, len, fill } => {
                let data = filling(*len, *fill);
                let count = rustix::io::pwrite(&self.open[slot], &data, *offset)?;
                return Ok(Outcome::Count(count));
            }
            Op::Resize { slot, size } => rustix::fs::ftruncate(&self.open[slot], *size)?,
            Op::Ranges { slot, act } => return self.on_ranges(*slot, act),
            Op::Sync { slot, data_only: true } => rustix::fs::fdatasync(&self.open[slot])?,
            Op::Sync { slot, data_only: false } => rustix::fs::fsync(&self.open[slot])?,
            Op::StatOpen { slot } => return rustix::fs::fstat(&self.open[slot]).map(stat),
            Op::Truncate { path, size } => truncate(&at(path), *size)?,
            Op::Mkdir { path, mode } => rustix::fs::mkdir(at(path), Mode::from_raw_mode(*mode))?,
            Op::Rmdir { path } => rustix::fs::rmdir(at(path))?,
            Op::Unlink { path } => rustix::fs::unlink(at(path))?,
            Op::Rename { from, to, onto } => rename(&at(from), &at(to), rename_flags(*onto))?,
            Op::Link { from, to } => rustix::fs::link(at(from), at(to))?,
            Op::Symlink { target, path } => rustix::fs::symlink(target, at(path))?,
            Op::Readlink { path } => {
                let target = rustix::fs::readlink(at(path), Vec::new())?;
                return Ok(Outcome::Names(vec![target.to_string_lossy().into_owned()]));
            }
            Op::Stat { path, follow: true } => return rustix::fs::stat(at(path)).map(stat),
            Op::Stat { path, follow: false } => return rustix::fs::lstat(at(path)).map(stat),
            Op::List { path } => return list(&at(path)),
            Op::Chmod { path, mode } => rustix::fs::chmod(at(path), Mode::from_raw_mode(*mode))?,
            Op::Chown { path, uid, gid, follow } => {
                let flags = if *follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(CWD, at(path), uid, gid, flags)?;
            }
            Op::SetMtime { path, seconds, nanos } => set_mtime(&at(path), *seconds, *nanos)?,
            Op::SetXattr { path, name, value, mode } => {
                let flags = match mode {
                    XattrMode::Any => XattrFlags::empty(),
                    XattrMode::Create => XattrFlags::CREATE,
                    XattrMode::Replace => XattrFlags::REPLACE,
                };
                rustix::fs::setxattr(at(path), name.as_str(), value, flags)?;
            }
            Op::GetXattr { path, name } => {
                let mut value = vec![0; 1024];
                let len = rustix::fs::getxattr(at(path), name.as_str(), &mut value[..])?;
                value.truncate(len);
                return Ok(Outcome::Bytes(value));
            }
            Op::ListXattr { path } => return list_xattr(&at(path)),
            Op::RemoveXattr { path, name } => rustix::fs::removexattr(at(path), name.as_str())?,
        }
        Ok(Outcome::Done)
    }

    fn on_ranges(&self, slot: Slot, act: &Ranges) -> Result<Outcome, Errno> {
        let file = &self.open[&slot];
        match act {
            Ranges::Allocate { offset, len, room } => {
                rustix::fs::fallocate(file, fallocate_flags(*room), *offset, *len)?;
            }
            Ranges::CopyFrom { from, from_offset, to_offset, len } => {
                return self.copy((*from, *from_offset), (slot, *to_offset), *len);
            }
            Ranges::Seek { offset, sought } => {
                let from = match sought {
                    Sought::Data => SeekFrom::Data(*offset),
                    Sought::Hole => SeekFrom::Hole(*offset),
                };
                return rustix::fs::seek(file, from).map(Outcome::Position);
            }
            Ranges::Lock { take, start, len } => {
                let locked = (start.cast_signed(), len.cast_signed());
                lock::Kind::Ofd.set(file, *take, locked, false).map_err(errno)?;
            }
            Ranges::TestLock { start, len } => {
                let tested = (start.cast_signed(), len.cast_signed());
                let found = lock::Kind::Ofd.test(file, tested).map_err(errno)?;
                let found =
                    found.map(|(start, len, _)| range(start.cast_unsigned(), len.cast_unsigned()));
                return Ok(Outcome::Locked(found.into_iter().collect()));
            }
        }
        Ok(Outcome::Done)
    }

    /// All that is there: a read may be cut short by a signal only.
    fn read(&self, slot: Slot, offset: u64, len: usize) -> Result<Outcome, Errno> {
        let mut data = vec![0; len];
        let count = match self.open[&slot].read_at(&mut data, offset) {
            Ok(count) => count,
            Err(err) => return Err(errno(err)),
        };
        data.truncate(count);
        Ok(Outcome::Bytes(data))
    }

    /// A copy may be cut short anywhere; one that makes the source itself longer still ends where that did.
    fn copy(
        &self,
        (from, mut from_offset): (Slot, u64),
        (to, mut to_offset): (Slot, u64),
        len: usize,
    ) -> Result<Outcome, Errno> {
        let (source, target) = (&self.open[&from], &self.open[&to]);
        let size = rustix::fs::fstat(source)?.st_size.cast_unsigned();
        let end = size.saturating_sub(from_offset);
        let mut copied = 0;
        loop {
            let (from, to) = (Some(&mut from_offset), Some(&mut to_offset));
            let count = rustix::fs::copy_file_range(source, from, target, to, len - copied)?;
            copied += count;
            if count == 0 || copied == len || copied as u64 >= end {
                return Ok(Outcome::Count(copied));
            }
        }
    }
}

impl System for Kernel {
    fn perform(&mut self, mount: usize, op: &Op) -> Outcome {
        self.act(mount, op).unwrap_or_else(|errno| Outcome::Failed(errno.raw_os_error()))
    }
}

fn errno(err: std::io::Error) -> Errno {
    Errno::from_io_error(&err).unwrap_or(Errno::IO)
}

fn fallocate_flags(room: Room) -> FallocateFlags {
    match room {
        Room::Take => FallocateFlags::empty(),
        Room::TakeKeepSize => FallocateFlags::KEEP_SIZE,
        Room::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        Room::Zero => FallocateFlags::ZERO_RANGE,
        Room::ZeroKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    }
}

fn oflags(flags: Flags) -> OFlags {
    let mut of = match (flags.read, flags.write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    of.set(OFlags::CREATE, flags.create);
    of.set(OFlags::EXCL, flags.exclusive);
    of.set(OFlags::TRUNC, flags.truncate);
    of.set(OFlags::APPEND, flags.append);
    of.set(OFlags::NOFOLLOW, flags.no_follow);
    of.set(OFlags::DIRECTORY, flags.directory);
    of | OFlags::CLOEXEC
}

fn stat(stat: rustix::fs::Stat) -> Outcome {
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    Outcome::Stat(Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        nlink: stat.st_nlink,
        size: (kind != Kind::Directory).then(|| u64::try_from(stat.st_size).unwrap_or(0)),
        ino: stat.st_ino,
        mtime: Some((stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX))),
    })
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::File,
    }
}

fn rename_flags(onto: Onto) -> RenameFlags {
    match onto {
        Onto::Replace => RenameFlags::empty(),
        Onto::NoReplace => RenameFlags::NOREPLACE,
        Onto::Exchange => RenameFlags::EXCHANGE,
    }
}

fn list(path: &Path) -> Result<Outcome, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let mut entries = BTreeMap::new();
    for entry in rustix::fs::Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." && entries.insert(name, kind(entry.file_type())).is_some() {
            // A name twice is no outcome of any model.
            return Err(Errno::UCLEAN);
        }
    }
    Ok(Outcome::Entries(entries))
}

fn list_xattr(path: &Path) -> Result<Outcome, Errno> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names[..])?;
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.retain(|name| name.starts_with("user."));
    names.sort();
    Ok(Outcome::Names(names))
}
