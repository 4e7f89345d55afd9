//! Ways to look at what is there, and what is seen. None of them changes more than an atime.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::view::{Held, PATHS, View};
use crate::mapping::{Mapping, Sharing};

/// Another user, who is in no group.
const OTHER: u32 = 12_345;
/// Attributes that there may be.
pub(super) const ATTRIBUTES: [&str; 2] = ["user.a", "user.b"];
pub(super) const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Stat,
    StatItself,
    /// Whether it can be opened.
    Open,
    Access,
    /// What another user may.
    Other,
    Content,
    /// In memory, mapped afresh.
    Mapped,
    Direct,
    Target,
    List,
    Attributes,
    AttributeNames,
    AccessLists,
    /// mtime, ctime and blocks: the same on all mounts.
    Times,
    /// Through what was opened before.
    HeldStat,
    HeldContent,
    HeldMapped,
    HeldList,
    HeldAttributes,
    HeldTimes,
}

impl Way {
    /// At paths.
    pub const AT: [Way; 14] = [
        Way::Stat,
        Way::StatItself,
        Way::Open,
        Way::Access,
        Way::Other,
        Way::Content,
        Way::Mapped,
        Way::Direct,
        Way::Target,
        Way::List,
        Way::Attributes,
        Way::AttributeNames,
        Way::AccessLists,
        Way::Times,
    ];
    /// Through slots.
    pub const HELD: [Way; 6] = [
        Way::HeldStat,
        Way::HeldContent,
        Way::HeldMapped,
        Way::HeldList,
        Way::HeldAttributes,
        Way::HeldTimes,
    ];

    /// A local folder has its own; those of the mounts are compared with each other.
    pub(super) fn is_of_the_mounts(self) -> bool {
        matches!(self, Way::Times | Way::HeldTimes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) way: Way,
    /// Index of a path, or a slot.
    pub(super) at: usize,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Way::HELD.contains(&self.way) {
            true => write!(f, "{:?} of slot {}", self.way, self.at),
            false => write!(f, "{:?} of {}", self.way, PATHS[self.at]),
        }
    }
}

impl Look {
    /// In words, to be compared.
    pub(super) fn see(self, view: &mut View) -> String {
        match self.try_see(view) {
            Ok(seen) => seen,
            Err(errno) => format!("{errno:?}"),
        }
    }

    fn try_see(self, view: &mut View) -> Result<String, Errno> {
        if let Way::HeldList = self.way {
            return match view.held[self.at].as_mut() {
                Some(Held::Folder(folder)) => {
                    folder.rewind();
                    listed(folder)
                }
                _ => Err(Errno::NOTDIR),
            };
        }
        if Way::HELD.contains(&self.way) {
            return held(self.way, view, self.at);
        }
        let name = PATHS[self.at];
        let path = view.at(name);
        Ok(match self.way {
            Way::Stat => attributes(&rustix::fs::stat(path)?),
            Way::StatItself => attributes(&rustix::fs::lstat(path)?),
            Way::Open => {
                view.open(name, OFlags::RDONLY)?;
                "opened".into()
            }
            Way::Access => {
                let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                let all = rustix::fs::access(&path, wanted);
                format!("{:?} {all:?}", rustix::fs::access(&path, Access::EXISTS))
            }
            Way::Other => other_user(view, name),
            Way::Content => content(&view.open(name, OFlags::RDONLY)?)?,
            Way::Mapped => mapped(&view.open(name, OFlags::RDONLY)?)?,
            Way::Direct => match view.open(name, OFlags::RDONLY | view.direct()) {
                // Directories have no such way.
                Err(Errno::INVAL) => content(&view.open(name, OFlags::RDONLY)?)?,
                opened => content(&opened?)?,
            },
            Way::Target => rustix::fs::readlink(path, Vec::new())?.to_string_lossy().into_owned(),
            Way::List => listed(&mut Dir::new(view.open(name, OFlags::DIRECTORY)?)?)?,
            Way::Attributes => {
                values(&ATTRIBUTES, |name, value| rustix::fs::getxattr(&path, name, value))
            }
            Way::AccessLists => {
                values(&LISTS, |name, value| rustix::fs::getxattr(&path, name, value))
            }
            Way::AttributeNames => {
                let mut names = vec![0; 4096];
                let len = rustix::fs::listxattr(path, &mut names[..])?;
                own_names(&names[..len])
            }
            _ => times(&rustix::fs::stat(path)?),
        })
    }
}

fn held(way: Way, view: &View, slot: usize) -> Result<String, Errno> {
    let held = view.held(slot)?;
    Ok(match way {
        Way::HeldStat => attributes(&rustix::fs::fstat(held.fd()?)?),
        Way::HeldContent => content(view.held_file(slot)?)?,
        Way::HeldMapped => mapped(view.held_file(slot)?)?,
        Way::HeldAttributes => {
            let fd = held.fd()?;
            values(&ATTRIBUTES, |name, value| rustix::fs::fgetxattr(fd, name, value))
        }
        _ => times(&rustix::fs::fstat(held.fd()?)?),
    })
}

fn attributes(of: &Stat) -> String {
    let kind = FileType::from_raw_mode(of.st_mode);
    // That of a directory is the file system's own business.
    let size = if kind == FileType::Directory { 0 } else { of.st_size };
    let (mode, nlink) = (of.st_mode & 0o7777, of.st_nlink);
    format!("{kind:?} {mode:o} of {}:{}, nlink {nlink}, size {size}", of.st_uid, of.st_gid)
}

fn times(of: &Stat) -> String {
    let (mtime, ctime) = ((of.st_mtime, of.st_mtime_nsec), (of.st_ctime, of.st_ctime_nsec));
    format!("mtime {mtime:?} ctime {ctime:?} blocks {}", of.st_blocks)
}

fn other_user(view: &View, name: &str) -> String {
    let path = view.at(name);
    as_other(|| {
        let reads = view.open(name, OFlags::RDONLY).map(drop);
        let may = |what| rustix::fs::accessat(CWD, &path, what, AtFlags::EACCESS);
        format!(
            "open {reads:?} write {:?} execute {:?}",
            may(Access::WRITE_OK),
            may(Access::EXEC_OK)
        )
    })
}

#[expect(unsafe_code, reason = "setfsuid(2) has no safe wrapper")]
fn as_other<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: they change who this thread is to file systems, nothing in memory.
    let set = |id| unsafe { (libc::setfsgid(id), libc::setfsuid(id)) };
    set(OTHER);
    let done = act();
    set(0);
    done
}

/// All bytes: as many as it has by its size, and nothing behind them.
fn content(file: &File) -> Result<String, Errno> {
    let of = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(of.st_mode) != FileType::RegularFile {
        return Err(
            rustix::io::read(file, &mut [0; 16]).map_or_else(|errno| errno, |_| Errno::PIPE)
        );
    }
    let mut data = vec![0; usize::try_from(of.st_size).map_err(|_| Errno::FBIG)? + 100];
    let mut len = 0;
    loop {
        let read = file.read_at(&mut data[len..], len as u64);
        match read.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))? {
            0 => break,
            more => len += more,
        }
    }
    data.truncate(len);
    Ok(in_runs(&data))
}

fn mapped(file: &File) -> Result<String, Errno> {
    let of = rustix::fs::fstat(file)?;
    let len = usize::try_from(of.st_size).map_err(|_| Errno::FBIG)?;
    if FileType::from_raw_mode(of.st_mode) != FileType::RegularFile || len == 0 {
        return Ok("nothing to map".into());
    }
    let mapping = Mapping::new(file, len, Sharing::Private);
    let mapping = mapping.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
    Ok(in_runs(&mapping.load(0, len)))
}

/// Each write fills its range with one byte, so runs of one byte tell all.
fn in_runs(data: &[u8]) -> String {
    let mut text = format!("{} bytes", data.len());
    let mut at = 0;
    for run in data.chunk_by(|one, next| one == next) {
        at += run.len();
        // Writing to a string does not fail.
        let _ = write!(text, ", {} to {at}", run[0]);
    }
    text
}

fn listed(folder: &mut Dir) -> Result<String, Errno> {
    let mut entries = BTreeMap::new();
    loop {
        match folder.read() {
            None => break,
            // Of a directory that was removed: some kernels say so, some show nothing.
            Some(Err(Errno::NOENT)) => break,
            Some(entry) => {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." && entries.insert(name, entry.file_type()).is_some()
                {
                    return Ok(format!("{:?} twice", entry.file_name()));
                }
            }
        }
    }
    Ok(format!("{entries:?}"))
}

fn values(names: &[&str], get: impl Fn(&str, &mut [u8]) -> Result<usize, Errno>) -> String {
    let of = |name: &&str| {
        let mut value = vec![0; 1024];
        match get(name, &mut value) {
            Ok(len) => format!("{name} {:?}", &value[..len]),
            Err(errno) => format!("{name} {errno:?}"),
        }
    };
    names.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn own_names(names: &[u8]) -> String {
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(String::from_utf8_lossy).collect();
    names.retain(|name| name.starts_with("user.") || name.starts_with("system.posix_acl"));
    names.sort();
    names.join(" ")
}

/// Whether a directory or a regular file: others are not held, their other ends would be.
pub(super) fn can_be_held(file: &File) -> Result<bool, Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file.as_fd())?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

pub(super) fn is_folder(file: &File) -> bool {
    rustix::fs::fstat(file.as_fd())
        .is_ok_and(|of| FileType::from_raw_mode(of.st_mode) == FileType::Directory)
}
