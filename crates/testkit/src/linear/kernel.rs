//! The calls as calls of the kernel, on one mount.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::history::{CELL, CELLS_MAX, How, Ino, Op, Outcome, Place};
use super::record::{DIRS, System, filled, writers};

/// Room for a whole listing in one call.
const LISTING: usize = 32 * 1024;

#[derive(Debug)]
pub struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// `folder` has the directories of `make_folders`.
    pub fn new(folder: PathBuf) -> Self {
        Kernel { folder }
    }

    fn directory(&self, dir: u8) -> PathBuf {
        self.folder.join(format!("d{dir}"))
    }

    fn path(&self, place: Place) -> PathBuf {
        self.directory(place.dir).join(format!("n{}", place.name))
    }

    /// In one call, as two may show what never was at one time.
    fn list(&self, dir: u8) -> Result<Outcome, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(self.directory(dir), flags, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); LISTING];
        let mut listing = RawDir::new(directory, &mut buffer);
        let mut entries = std::collections::BTreeMap::new();
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ino = entry.ino();
            if let Some(number) = name.strip_prefix('n').and_then(|number| number.parse().ok()) {
                if entries.insert(number, ino).is_some() {
                    return Ok(Outcome::Odd(format!("{name} is listed twice")));
                }
            } else if !matches!(name.as_str(), "." | "..") {
                return Ok(Outcome::Odd(format!("{name} is listed")));
            }
            if listing.is_buffer_empty() {
                break;
            }
        }
        Ok(Outcome::Entries(entries))
    }

    fn on_file(op: &Op, file: &File, path: impl Fn(Place) -> PathBuf) -> Result<Outcome, Errno> {
        let written = |count: usize, len: usize| match count == len * CELL {
            true => Outcome::Done,
            false => Outcome::Odd(format!("{count} bytes were written")),
        };
        match op {
            Op::StatOpen { .. } => return rustix::fs::fstat(file).map(|stat| status(&stat)),
            Op::Read { .. } => {
                let mut bytes = [0; CELLS_MAX * CELL];
                let count = rustix::io::pread(file, &mut bytes, 0)?;
                return Ok(writers(&bytes[..count]));
            }
            Op::Write { at, len, tag, .. } => {
                let offset = (at * CELL) as u64;
                let count = rustix::io::pwrite(file, &filled(*len, *tag), offset)?;
                return Ok(written(count, *len));
            }
            Op::Append { len, tag, .. } => {
                let count = rustix::io::write(file, &filled(*len, *tag))?;
                return Ok(written(count, *len));
            }
            Op::Cut { size, .. } => rustix::fs::ftruncate(file, (size * CELL) as u64)?,
            Op::Link { to, .. } => {
                rustix::fs::linkat(file, "", CWD, path(*to), AtFlags::EMPTY_PATH)?;
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(Outcome::Done)
    }
}

impl System for Kernel {
    type File = File;

    fn open(&self, at: Place, how: How, append: bool) -> Result<File, Errno> {
        let mut flags = match how {
            How::Read => OFlags::RDONLY,
            How::Write => OFlags::RDWR,
            How::Create => OFlags::RDWR | OFlags::CREATE,
            How::Exclusive => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            How::Truncate => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
        };
        flags.set(OFlags::APPEND, append);
        let mode = Mode::from_raw_mode(0o644);
        Ok(rustix::fs::open(self.path(at), flags | OFlags::CLOEXEC, mode)?.into())
    }

    fn ino(&self, file: &File) -> Result<Ino, Errno> {
        rustix::fs::fstat(file).map(|stat| stat.st_ino)
    }

    fn call(&self, op: &Op, file: Option<&File>) -> Result<Outcome, Errno> {
        match (op, file) {
            (_, Some(file)) => return Self::on_file(op, file, |place| self.path(place)),
            (Op::Stat { at }, None) => {
                return rustix::fs::stat(self.path(*at)).map(|stat| status(&stat));
            }
            (Op::List { dir }, None) => return self.list(*dir),
            (Op::Unlink { at }, None) => rustix::fs::unlink(self.path(*at))?,
            (Op::Rename { from, to }, None) => {
                rustix::fs::renameat(CWD, self.path(*from), CWD, self.path(*to))?;
            }
            (_, None) => return Err(Errno::INVAL),
        }
        Ok(Outcome::Done)
    }
}

/// Empties nothing: the folder must be new.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    (0..DIRS).try_for_each(|dir| std::fs::create_dir_all(folder.join(format!("d{dir}"))))
}

fn status(stat: &Stat) -> Outcome {
    let nlink = u32::try_from(stat.st_nlink).unwrap_or(u32::MAX);
    Outcome::Status { ino: stat.st_ino, size: stat.st_size.cast_unsigned(), nlink }
}
