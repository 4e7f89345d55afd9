//! The folder as one mount shows it, and what is held open there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

/// Everything that there may be. Any of them may be of any kind: they are renamed to each other.
pub(super) const PATHS: [&str; 10] = ["a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "e/f", "e/f/a"];
/// Names that usually are directories.
pub(super) const FOLDERS: [&str; 3] = ["d", "e", "e/f"];
/// What is held open at the same time.
pub(super) const SLOTS: usize = 4;

#[derive(Debug)]
pub(super) enum Held {
    File(File),
    Folder(Dir),
}

#[derive(Debug)]
pub(super) struct View {
    root: PathBuf,
    pub(super) held: [Option<Held>; SLOTS],
    is_local: bool,
}

impl Held {
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self {
            Held::File(file) => Ok(file.as_fd()),
            Held::Folder(folder) => folder.fd(),
        }
    }
}

impl View {
    pub(super) fn mounted(root: &Path) -> Self {
        View { root: root.to_owned(), held: [const { None }; SLOTS], is_local: false }
    }

    pub(super) fn local(root: &Path) -> Self {
        View { is_local: true, ..View::mounted(root) }
    }

    /// The same for somebody else, who holds nothing open.
    pub(super) fn again(&self) -> Self {
        View { is_local: self.is_local, ..View::mounted(&self.root) }
    }

    /// How to pass by the page cache; a local file system wants more for that than is given.
    pub(super) fn direct(&self) -> OFlags {
        if self.is_local { OFlags::empty() } else { OFlags::DIRECT }
    }

    /// Local ones move by the ticks of the kernel's clock only.
    pub(super) fn times_are_fine(&self) -> bool {
        !self.is_local
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Opens what is there, without waiting for anybody at the other end of a FIFO.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(self.at(path), flags, Mode::from_raw_mode(0o644)).map(File::from)
    }

    pub(super) fn held(&self, slot: usize) -> Result<&Held, Errno> {
        self.held[slot].as_ref().ok_or(Errno::BADF)
    }

    /// Whether a directory is held open that has no name any more.
    pub(super) fn holds_removed_folder(&self, slot: usize) -> bool {
        let Some(Held::Folder(folder)) = &self.held[slot] else { return false };
        folder.stat().is_ok_and(|of| of.st_nlink == 0)
    }

    /// EBADF also of a directory.
    pub(super) fn held_file(&self, slot: usize) -> Result<&File, Errno> {
        match self.held(slot)? {
            Held::File(file) => Ok(file),
            Held::Folder(_) => Err(Errno::BADF),
        }
    }
}
