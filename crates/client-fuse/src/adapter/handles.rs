//! What the kernel holds open, by number, and which files a write may have to strip of suid and sgid.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use xtfs_client::{Attributes, FileKind, OpenFile};
use xtfs_core::{Error, Ino, Result};

use super::directory::Directory;

/// Files remembered as having suid or sgid set. Beyond it every file is taken for one.
const PRIVILEGED_MAX: usize = 65_536;

#[derive(Clone, Debug)]
pub(super) struct OpenHandle {
    pub(super) file: Arc<OpenFile>,
    pub(super) write: bool,
}

/// Bounded by what the kernel lets processes open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    last: AtomicU64,
    files: Mutex<HashMap<u64, OpenHandle>>,
    directories: Mutex<HashMap<u64, Arc<Directory>>>,
    /// Files that were last seen with suid or sgid set.
    privileged: Mutex<HashSet<Ino>>,
}

impl Handles {
    pub(super) fn add_file(&self, file: Arc<OpenFile>, write: bool) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.files.lock().insert(number, OpenHandle { file, write });
        number
    }

    pub(super) fn file(&self, number: u64) -> Result<OpenHandle> {
        self.files.lock().get(&number).cloned().ok_or(Error::StaleHandle)
    }

    pub(super) fn remove_file(&self, number: u64) -> Result<OpenHandle> {
        self.files.lock().remove(&number).ok_or(Error::StaleHandle)
    }

    /// At the end: an unmount drops what the kernel had not sent yet, releases among it.
    pub(super) fn drain_files(&self) -> Vec<OpenHandle> {
        self.files.lock().drain().map(|(_, handle)| handle).collect()
    }

    pub(super) fn add_directory(&self, attributes: Attributes) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.directories.lock().insert(number, Arc::new(Directory::new(attributes)));
        number
    }

    /// What an open directory was like.
    pub(super) fn open_directory(&self, ino: Ino) -> Option<Attributes> {
        let directories = self.directories.lock();
        let open = directories.values().find(|directory| directory.attributes.ino == ino);
        open.map(|directory| directory.attributes.clone())
    }

    pub(super) fn directory(&self, number: u64) -> Result<Arc<Directory>> {
        self.directories.lock().get(&number).cloned().ok_or(Error::StaleHandle)
    }

    pub(super) fn remove_directory(&self, number: u64) {
        self.directories.lock().remove(&number);
    }

    /// Remembers whether a file has suid or sgid set. With HANDLE_KILLPRIV_V2 every write of a user carries the wish
    /// to clear them; asking the MRC each time would cost more than the write.
    pub(super) fn seen(&self, attributes: &Attributes) {
        let privileged = attributes.kind == FileKind::File && attributes.mode & 0o6000 != 0;
        let mut known = self.privileged.lock();
        if privileged && known.len() < PRIVILEGED_MAX {
            known.insert(attributes.ino);
        } else if !privileged && !known.is_empty() && known.len() < PRIVILEGED_MAX {
            known.remove(&attributes.ino);
        }
    }

    pub(super) fn is_privileged(&self, ino: Ino) -> bool {
        let known = self.privileged.lock();
        known.len() >= PRIVILEGED_MAX || known.contains(&ino)
    }
}
