//! What the kernel holds open, by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use xtfs_client::{Attributes, OpenFile};
use xtfs_core::{Error, Ino, Result};

use super::directory::Directory;

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
}
