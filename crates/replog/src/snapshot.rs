//! A snapshot as a set of files: a checkpoint of the whole store.

use std::path::{Path, PathBuf};

use xtfs_core::Result;

use crate::directory;
use crate::store::Store;

/// Removed when dropped, unless they became the store.
#[derive(Debug)]
pub struct StateFiles {
    path: Option<PathBuf>,
}

impl StateFiles {
    /// Of the instant of this call. In memory there are none.
    pub(crate) fn of(store: &Store) -> Result<Self> {
        let Some(dir) = store.dir() else { return Ok(Self::none()) };
        let path = directory::fresh(dir, "checkpoint")?;
        store.kv().checkpoint(&path)?;
        Ok(StateFiles { path: Some(path) })
    }

    /// An empty directory to receive into.
    pub(crate) fn incoming(store: &Store) -> Result<Self> {
        let Some(dir) = store.dir() else { return Ok(Self::none()) };
        let path = directory::fresh(dir, "incoming")?;
        std::fs::create_dir(&path).map_err(|err| directory::failed(&path, "create", &err))?;
        Ok(StateFiles { path: Some(path) })
    }

    pub(crate) fn none() -> Self {
        StateFiles { path: None }
    }

    /// The directory that holds them, without subdirectories. `None`: of a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|path| path.exists()) {
            directory::remove(path);
        }
    }
}
