//! Changes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::look::{LISTS, can_be_held, is_folder};
use super::view::{Held, View};
use crate::exerciser::calls;
use crate::mapping::{Mapping, Sharing};

/// How bytes come into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// The file is made if need be, and emptied.
    Create,
    /// A range of one that is there.
    Range,
    Append,
    Direct,
    /// Memory, as far as the file reaches.
    Mapping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) fill: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Write {
        path: &'static str,
        through: Through,
        bytes: Bytes,
    },
    Truncate {
        path: &'static str,
        size: u64,
    },
    Punch {
        path: &'static str,
        at: u64,
        len: u64,
    },
    Allocate {
        path: &'static str,
        at: u64,
        len: u64,
    },
    Exclusive {
        path: &'static str,
    },
    Mkdir {
        path: &'static str,
    },
    Mknod {
        path: &'static str,
        kind: FileType,
    },
    Symlink {
        target: &'static str,
        path: &'static str,
    },
    Link {
        from: &'static str,
        to: &'static str,
    },
    Unlink {
        path: &'static str,
    },
    Rmdir {
        path: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
        flags: RenameFlags,
    },
    Chmod {
        path: &'static str,
        mode: u32,
    },
    Chown {
        path: &'static str,
        uid: u32,
        gid: u32,
    },
    SetMtime {
        path: &'static str,
        seconds: i64,
    },
    SetAttribute {
        path: &'static str,
        name: &'static str,
        value: Vec<u8>,
    },
    RemoveAttribute {
        path: &'static str,
        name: &'static str,
    },
    /// An access control list: what user 12345 and the mask get.
    SetList {
        path: &'static str,
        list: usize,
        user: u16,
        mask: u16,
    },
    HeldWrite {
        slot: usize,
        bytes: Bytes,
    },
    HeldResize {
        slot: usize,
        size: u64,
    },
    HeldChmod {
        slot: usize,
        mode: u32,
    },
    /// By all mounts: opened to read and write, if it is a file.
    Hold {
        slot: usize,
        path: &'static str,
    },
    LetGo {
        slot: usize,
    },
}

impl Act {
    /// Whether all mounts do it.
    pub(super) fn is_of_all(&self) -> bool {
        matches!(self, Act::Hold { .. } | Act::LetGo { .. })
    }

    /// Where it is seen first.
    pub(super) fn paths(&self) -> Vec<&'static str> {
        match self {
            Act::Link { from, to } | Act::Rename { from, to, .. } => vec![from, to],
            Act::Write { path, .. }
            | Act::Truncate { path, .. }
            | Act::Punch { path, .. }
            | Act::Allocate { path, .. }
            | Act::Exclusive { path }
            | Act::Mkdir { path }
            | Act::Mknod { path, .. }
            | Act::Symlink { path, .. }
            | Act::Unlink { path }
            | Act::Rmdir { path }
            | Act::Chmod { path, .. }
            | Act::Chown { path, .. }
            | Act::SetMtime { path, .. }
            | Act::SetAttribute { path, .. }
            | Act::RemoveAttribute { path, .. }
            | Act::SetList { path, .. }
            | Act::Hold { path, .. } => vec![path],
            Act::HeldWrite { .. }
            | Act::HeldResize { .. }
            | Act::HeldChmod { .. }
            | Act::LetGo { .. } => Vec::new(),
        }
    }

    /// A path whose ctime moves if this is done.
    pub(super) fn dates(&self) -> Option<&'static str> {
        match self {
            Act::Write {
                path,
                through: Through::Range | Through::Append | Through::Direct,
                ..
            }
            | Act::Chmod { path, .. }
            | Act::Chown { path, .. }
            | Act::SetMtime { path, .. }
            | Act::SetAttribute { path, .. }
            | Act::RemoveAttribute { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(super) fn perform(&self, view: &mut View) -> Result<(), Errno> {
        let at = |path: &str| view.at(path);
        match self {
            Act::Write { path, through, bytes } => return write(view, path, *through, bytes),
            Act::Truncate { path, size } => calls::truncate(&at(path), *size)?,
            Act::Punch { path, at, len } => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(view.open(path, OFlags::RDWR)?, flags, *at, *len)?;
            }
            Act::Allocate { path, at, len } => {
                let file = view.open(path, OFlags::RDWR)?;
                rustix::fs::fallocate(file, FallocateFlags::empty(), *at, *len)?;
            }
            Act::Exclusive { path } => {
                drop(view.open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?)
            }
            Act::Mkdir { path } => rustix::fs::mkdir(at(path), Mode::from_raw_mode(0o755))?,
            Act::Mknod { path, kind } => {
                rustix::fs::mknodat(CWD, at(path), *kind, Mode::from_raw_mode(0o644), 0)?;
            }
            Act::Symlink { target, path } => rustix::fs::symlink(*target, at(path))?,
            Act::Link { from, to } => rustix::fs::link(at(from), at(to))?,
            Act::Unlink { path } => rustix::fs::unlink(at(path))?,
            Act::Rmdir { path } => rustix::fs::rmdir(at(path))?,
            Act::Rename { from, to, flags } => calls::rename(&at(from), &at(to), *flags)?,
            Act::Chmod { path, mode } => {
                rustix::fs::chmod(at(path), Mode::from_raw_mode(*mode))?;
            }
            Act::Chown { path, uid, gid } => {
                let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                rustix::fs::chownat(CWD, at(path), uid, gid, AtFlags::empty())?;
            }
            Act::SetMtime { path, seconds } => calls::set_mtime(&at(path), *seconds, 5)?,
            Act::SetAttribute { path, name, value } => {
                rustix::fs::setxattr(at(path), *name, value, XattrFlags::empty())?;
            }
            Act::RemoveAttribute { path, name } => rustix::fs::removexattr(at(path), *name)?,
            Act::SetList { path, list, user, mask } => {
                let value = access_list(*user, *mask);
                rustix::fs::setxattr(at(path), LISTS[*list], &value, XattrFlags::empty())?;
            }
            Act::HeldWrite { slot, bytes } => put(view.held_file(*slot)?, bytes)?,
            Act::HeldResize { slot, size } => {
                rustix::fs::ftruncate(view.held_file(*slot)?, *size)?;
            }
            Act::HeldChmod { slot, mode } => {
                rustix::fs::fchmod(view.held(*slot)?.fd()?, Mode::from_raw_mode(*mode))?;
            }
            Act::Hold { slot, path } => return hold(view, *slot, path),
            Act::LetGo { slot } => view.held[*slot] = None,
        }
        Ok(())
    }
}

fn hold(view: &mut View, slot: usize, path: &str) -> Result<(), Errno> {
    view.held[slot] = None;
    let file = match view.open(path, OFlags::RDWR) {
        Err(Errno::ISDIR) => view.open(path, OFlags::RDONLY),
        opened => opened,
    }?;
    if can_be_held(&file)? {
        let folder = is_folder(&file);
        view.held[slot] =
            Some(if folder { Held::Folder(rustix::fs::Dir::new(file)?) } else { Held::File(file) });
    }
    Ok(())
}

fn write(view: &View, path: &str, through: Through, bytes: &Bytes) -> Result<(), Errno> {
    let flags = match through {
        Through::Create => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        Through::Range => OFlags::WRONLY,
        Through::Append => OFlags::WRONLY | OFlags::APPEND,
        Through::Direct => OFlags::WRONLY | view.direct(),
        Through::Mapping => OFlags::RDWR,
    };
    let file = view.open(path, flags)?;
    if through == Through::Mapping {
        return store(&file, bytes);
    }
    put(&file, bytes)
}

fn put(file: &File, bytes: &Bytes) -> Result<(), Errno> {
    let data = vec![bytes.fill; bytes.len];
    file.write_all_at(&data, bytes.at)
        .map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))
}

fn store(file: &File, bytes: &Bytes) -> Result<(), Errno> {
    let of = rustix::fs::fstat(file)?;
    let size = usize::try_from(of.st_size).map_err(|_| Errno::FBIG)?;
    let at = usize::try_from(bytes.at).map_err(|_| Errno::FBIG)?;
    if FileType::from_raw_mode(of.st_mode) != FileType::RegularFile || at >= size {
        return Err(Errno::NXIO);
    }
    let errno = |err: std::io::Error| Errno::from_io_error(&err).unwrap_or(Errno::IO);
    let mapping = Mapping::new(file, size, Sharing::Shared).map_err(errno)?;
    mapping.store(at, &vec![bytes.fill; bytes.len.min(size - at)]);
    mapping.sync().map_err(errno)
}

/// As the kernel takes it: version 2, then tag, permissions and id of each entry.
fn access_list(user: u16, mask: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, NOBODY), (2, user, 12_345), (4, 4, NOBODY), (16, mask, NOBODY), (32, 4, NOBODY)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}
