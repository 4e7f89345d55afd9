//! The directory of a group: which of the stores in it is the present one.
//!
//! | file | is |
//! |---|---|
//! | `store-N` | a store; the greatest number is not always the present one |
//! | `current` | names the present store; absent before the first snapshot was installed: `store-1` |
//! | `checkpoint-N` | a snapshot on its way to another member |
//! | `incoming-N` | a snapshot on its way from another member |
//! | `reserve` | see `space.rs` |

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use xtfs_core::{Error, Result};

const CURRENT: &str = "current";

/// Makes the directory if its parent exists.
pub(crate) fn create(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(failed(dir, "create", &err))
        }
        _ => Ok(()),
    }
}

/// Drops what is left of snapshots, answers where the present store is.
pub(crate) fn prepare(dir: &Path) -> Result<PathBuf> {
    let current = match fs::read_to_string(dir.join(CURRENT)) {
        Ok(name) => name.trim().to_owned(),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => "store-1".to_owned(),
        Err(err) => return Err(failed(&dir.join(CURRENT), "read", &err)),
    };
    let named = current.strip_prefix("store-").is_some_and(|number| number.parse::<u64>().is_ok());
    if !named || (current != "store-1" && !dir.join(&current).exists()) {
        return Err(Error::Corrupt(format!(
            "{}: names {current:?}, which is no store here; write the name of the present store-N \
             into it, or restore the directory from a copy",
            dir.join(CURRENT).display()
        )));
    }
    for name in names(dir)? {
        let leftover = ["store-", "checkpoint-", "incoming-"].iter().any(|p| name.starts_with(p));
        if leftover && name != current {
            remove(&dir.join(name));
        }
    }
    Ok(dir.join(current))
}

/// A path in `dir` that does not exist.
pub(crate) fn fresh(dir: &Path, kind: &str) -> Result<PathBuf> {
    let numbers = names(dir)?
        .into_iter()
        .filter_map(|name| name.strip_prefix(kind)?.strip_prefix('-')?.parse::<u64>().ok());
    Ok(dir.join(format!("{kind}-{}", numbers.max().unwrap_or(0) + 1)))
}

/// Gives received files the name of a store. It is not the present one yet.
pub(crate) fn adopt(dir: &Path, files: &Path) -> Result<PathBuf> {
    let next = fresh(dir, "store")?;
    fs::rename(files, &next).map_err(|err| failed(files, "rename", &err))?;
    Ok(next)
}

/// Makes `next` the present store: whole or not at all, whenever the power goes.
pub(crate) fn switch(dir: &Path, next: &Path) -> Result<()> {
    let name = next.file_name().unwrap_or_default().to_string_lossy();
    let (temporary, path) = (dir.join("current.new"), dir.join(CURRENT));
    let replace = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{name}")?;
        file.sync_all()?;
        // The names of the store's files, and its own.
        File::open(next)?.sync_all()?;
        File::open(dir)?.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    replace().map_err(|err| failed(&path, "replace", &err))
}

/// What cannot be removed now is removed at the next start.
pub(crate) fn remove(path: &Path) {
    if let Err(err) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %err, "cannot remove a superseded store");
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(|err| failed(dir, "list", &err))?;
    Ok(entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
}

pub(crate) fn failed(path: &Path, doing: &str, err: &std::io::Error) -> Error {
    let text = format!("cannot {doing} {}: {err}", path.display());
    match err.kind() {
        std::io::ErrorKind::StorageFull => Error::NoSpace(text),
        _ => Error::Internal(text),
    }
}
