//! A service's data directory: whose it is, and that only one process uses it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use xtfs_core::{ClusterId, ServiceId, TargetId};

use crate::failure::Failure;

const MARKER: &str = "xtfs.toml";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
/// What this version writes and reads.
const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Dir,
    Mrc,
    Osd,
}

/// An open data directory. It is locked until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    marker: Mutex<Marker>,
    is_new: bool,
    _lock: File,
}

/// The file that says whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    role: Role,
    id: ServiceId,
    /// Absent until the DIR has told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterId>,
}

impl DataDir {
    /// Opens `path`, makes it if only its parent exists, and locks it. `cluster` is written down if
    /// none is yet; another one is refused.
    pub fn open(path: &Path, role: Role, cluster: Option<ClusterId>) -> Result<Self, Failure> {
        let failed = |doing: &str, err: &io::Error| io_failure(path, doing, err);
        match fs::create_dir(path) {
            Ok(()) => sync_parent(path).map_err(|err| failed("make", &err))?,
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) => return Err(failed("make", &err)),
        }
        // An absolute path stays right whatever the working directory becomes.
        let path = &path.canonicalize().map_err(|err| failed("open", &err))?;
        let found = read_marker(path)?;
        if found.is_none() {
            refuse_if_used(path)?;
        }
        let lock = lock(path)?;
        // Again, now that nobody else writes.
        let found = read_marker(path)?;
        let is_new = found.is_none();
        let marker = match found {
            Some(marker) => marker,
            None => {
                let marker = Marker { format: FORMAT, role, id: ServiceId::generate(), cluster };
                marker.write(path)?;
                marker
            }
        };
        marker.check_role(path, role)?;
        let dir =
            DataDir { path: path.to_owned(), marker: Mutex::new(marker), is_new, _lock: lock };
        if let Some(cluster) = cluster {
            dir.adopt(cluster)?;
        }
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made by this `open`.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Id of the daemon whose directory it is.
    pub fn service_id(&self) -> ServiceId {
        self.marker().id
    }

    /// The same for an OSD, where each directory is a target.
    pub fn target_id(&self) -> TargetId {
        TargetId(self.marker().id.0)
    }

    pub fn cluster(&self) -> Option<ClusterId> {
        self.marker().cluster
    }

    /// Writes down the cluster that it belongs to from now on; refused if it belongs to another.
    pub fn adopt(&self, cluster: ClusterId) -> Result<(), Failure> {
        let mut marker = self.marker();
        match marker.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(own) => Err(Failure::new(
                format!("{} belongs to cluster {own}, not to {cluster}", self.path.display()),
                "use the DIR of its cluster, or another --data directory",
            )),
            None => {
                let adopted = Marker { cluster: Some(cluster), ..marker.clone() };
                adopted.write(&self.path)?;
                *marker = adopted;
                Ok(())
            }
        }
    }

    fn marker(&self) -> MutexGuard<'_, Marker> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marker {
    fn write(&self, dir: &Path) -> Result<(), Failure> {
        let text = toml::to_string(self).expect("a marker is plain values");
        let text = format!("# Written by xtfs. Do not edit.\n{text}");
        write_atomically(&dir.join(MARKER), text.as_bytes())
            .map_err(|err| io_failure(dir, "write the marker in", &err))
    }

    fn check_role(&self, dir: &Path, role: Role) -> Result<(), Failure> {
        let dir = dir.display();
        if self.format != FORMAT {
            return Err(Failure::new(
                format!("{dir} has format {}, this version reads {FORMAT}", self.format),
                "install the version of xtfs that wrote it, or a newer one",
            ));
        }
        if self.role != role {
            return Err(Failure::new(
                format!("{dir} is a data directory of role {}, not {}", self.role, role),
                "choose another --data directory",
            ));
        }
        Ok(())
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Dir => "dir",
            Role::Mrc => "mrc",
            Role::Osd => "osd",
        })
    }
}

/// Replaces the file at `path`: afterwards it is the old or the new one, also after a power cut.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_added_extension(TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    File::open(parent)?.sync_all()
}

fn read_marker(dir: &Path) -> Result<Option<Marker>, Failure> {
    let text = match fs::read_to_string(dir.join(MARKER)) {
        Ok(text) => text,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(io_failure(dir, "read the marker xtfs.toml in", &err)),
    };
    toml::from_str(&text).map(Some).map_err(|err| {
        Failure::new(
            format!("{}/{MARKER} is damaged: {}", dir.display(), err.message()),
            "restore this file from a backup; the data beside it was not touched",
        )
    })
}

/// Refuses a directory that holds anything not left by an interrupted `open` or by mkfs.
fn refuse_if_used(dir: &Path) -> Result<(), Failure> {
    let failed = |err: io::Error| io_failure(dir, "read", &err);
    let ours = [LOCK.into(), format!("{MARKER}.{TEMPORARY}"), "lost+found".into()];
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !ours.iter().any(|own| name == **own) {
            return Err(Failure::new(
                format!(
                    "{} is not empty and no xtfs data directory (it has {:?} and no {MARKER})",
                    dir.display(),
                    name
                ),
                "choose an empty or a new --data directory",
            ));
        }
    }
    Ok(())
}

/// Holds the lock of the directory as long as the file is open.
fn lock(dir: &Path) -> Result<File, Failure> {
    let failed = |err: io::Error| io_failure(dir, "lock", &err);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(dir.join(LOCK)).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            write!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Only for the text: without it the refusal is the same.
            file.read_to_string(&mut pid).unwrap_or_default();
            Err(Failure::new(
                format!("{} is in use by pid {}", dir.display(), pid.trim()),
                "stop that process, or choose another --data directory",
            ))
        }
        Err(err) => Err(failed(err.into())),
    }
}

fn io_failure(dir: &Path, doing: &str, err: &io::Error) -> Failure {
    let next = match err.kind() {
        ErrorKind::NotFound => "its parent directory must exist: make it, or correct --data",
        ErrorKind::PermissionDenied => {
            "run as the user that owns it, or give that user the directory"
        }
        ErrorKind::NotADirectory => "--data must name a directory",
        ErrorKind::ReadOnlyFilesystem => "mount that file system writable",
        ErrorKind::StorageFull => "free space on that file system",
        _ => "check the disk and its file system",
    };
    Failure::new(format!("cannot {doing} {}: {err}", dir.display()), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &Path, role: Role, cluster: Option<ClusterId>, why: &str) {
        let err = DataDir::open(path, role, cluster).unwrap_err().to_string();
        assert!(err.contains(why), "{err}");
        assert!(err.contains("; "), "no next step: {err}");
    }

    #[test]
    fn a_directory_keeps_its_identity() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("osd1");
        let first = DataDir::open(&path, Role::Osd, None).unwrap();
        assert!(first.is_new());
        assert_eq!(first.cluster(), None);
        let (id, cluster) = (first.target_id(), ClusterId::generate());
        first.adopt(cluster).unwrap();
        drop(first);
        let again = DataDir::open(&path, Role::Osd, Some(cluster)).unwrap();
        assert!(!again.is_new());
        assert_eq!((again.target_id(), again.cluster()), (id, Some(cluster)));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("osd1");
        refused(&path.join("deeper"), Role::Osd, None, "its parent directory must exist");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis.tex"), "precious").unwrap();
        refused(&path, Role::Osd, None, "is not empty");
        assert!(!path.join(LOCK).exists(), "nothing is written to it");
        fs::remove_file(path.join("thesis.tex")).unwrap();
        fs::create_dir(path.join("lost+found")).unwrap();
        let open = DataDir::open(&path, Role::Osd, Some(ClusterId::generate())).unwrap();
        let own = std::process::id().to_string();
        refused(&path, Role::Osd, None, &format!("in use by pid {own}"));
        drop(open);
        refused(&path, Role::Mrc, None, "role osd, not mrc");
        refused(&path, Role::Osd, Some(ClusterId::generate()), "belongs to cluster");
    }

    #[test]
    fn a_damaged_or_newer_marker_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dir");
        drop(DataDir::open(&path, Role::Dir, None).unwrap());
        let marker = path.join(MARKER);
        let text = fs::read_to_string(&marker).unwrap();
        fs::write(&marker, text.replace("format = 1", "format = 2")).unwrap();
        refused(&path, Role::Dir, None, "has format 2");
        fs::write(&marker, "garbage").unwrap();
        refused(&path, Role::Dir, None, "is damaged");
        refused(&marker, Role::Dir, None, "must name a directory");
    }
}
