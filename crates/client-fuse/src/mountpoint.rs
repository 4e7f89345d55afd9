//! The directory to mount over: there, a directory, empty, and not the ruin of an earlier mount.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::failure::Failure;
use crate::mounts;

/// Dead mounts may lie on each other; who has more of them than this has another problem.
const DEAD_MAX: usize = 16;

/// A directory that can be mounted over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mountpoint {
    /// Absolute, without symlinks.
    pub(crate) path: PathBuf,
    /// systemd or autofs waits here for us; walking into the path would wait for ourselves.
    pub(crate) autofs: bool,
}

/// Finds the directory and clears dead mounts of ours away from it.
pub(crate) fn prepare(given: &Path, source: &str, nonempty: bool) -> Result<Mountpoint, Failure> {
    let shown = given.display();
    let path = resolve(given).map_err(|error| absent(given, &error))?;
    for _ in 0..DEAD_MAX {
        match kind(&path) {
            Ok(FileType::Directory) => break,
            Ok(_) => {
                let cause = format!("{shown} is not a directory");
                return Err(Failure::mount(cause, "mount over an empty directory"));
            }
            Err(Errno::NOTCONN) => clear_dead(&path)?,
            Err(errno) => return Err(absent(given, &errno.into())),
        }
    }
    let top = mounts::topmost(&path).map_err(|error| absent(given, &error))?;
    if let Some(top) = &top
        && top.is_ours()
        && top.source == *source
    {
        let cause = format!("{source} is already mounted on {shown}");
        return Err(Failure::mount(cause, format!("umount {shown} first")));
    }
    let autofs = top.is_some_and(|top| top.file_system == "autofs");
    if !autofs && !nonempty && !is_empty(&path).map_err(|error| absent(given, &error))? {
        let cause = format!("{shown} is not empty");
        return Err(Failure::mount(cause, "take another directory, or -o nonempty to hide it"));
    }
    Ok(Mountpoint { path, autofs })
}

/// Absolute and without symlinks, also if a dead mount is there, which nothing can look at.
pub(crate) fn resolve(given: &Path) -> io::Result<PathBuf> {
    match given.canonicalize() {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            let absolute = std::path::absolute(given)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        other => other,
    }
}

/// Takes a mount away, whose process may be gone; `flags` say how. Users need fusermount3 for that.
pub(crate) fn unmount(path: &Path, flags: UnmountFlags) -> Result<(), Errno> {
    match rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => fusermount(path, flags.contains(UnmountFlags::DETACH)),
        other => other,
    }
}

fn fusermount(path: &Path, lazy: bool) -> Result<(), Errno> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").arg("-q").args(lazy.then_some("-z")).arg("--").arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("busy") => Err(Errno::BUSY),
        _ => Err(Errno::PERM),
    }
}

/// A path walk here must not trigger an automount that waits for us.
fn kind(path: &Path) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::NO_AUTOMOUNT)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn clear_dead(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let top = mounts::topmost(path).ok().flatten();
    let cause = format!("{shown} is the mountpoint of a dead process");
    if !top.as_ref().is_some_and(mounts::MountEntry::is_ours) {
        return Err(Failure::mount(cause, format!("it is not ours: fusermount3 -u -z {shown}")));
    }
    tracing::warn!(%shown, "a dead mount is cleared away");
    unmount(path, UnmountFlags::DETACH)
        .map_err(|errno| Failure::mount(format!("{cause}: {errno}"), format!("umount -l {shown}")))
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(path)?.next().is_none())
}

fn absent(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    let hint = match error.raw_os_error() {
        Some(libc::ENOENT) => format!("mkdir -p {shown}"),
        _ => "mount over an empty directory of your own".to_owned(),
    };
    Failure::mount(format!("{shown}: {error}"), hint)
}

/// Makes the directory for a file that is wanted but not vital.
pub(crate) fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            Ok(rustix::fs::mkdirat(CWD, parent, Mode::from_raw_mode(0o755))?)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &Path, why: &str) {
        let failure = prepare(path, "m/v", false).unwrap_err();
        assert_eq!(failure.exit_code(), 32);
        assert!(failure.to_string().contains(why), "{failure}");
    }

    #[test]
    fn an_empty_directory_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let expected = Mountpoint { path: path.clone(), autofs: false };
        assert_eq!(prepare(dir.path(), "m/v", false), Ok(expected.clone()));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        refused(&link, "not empty");
        assert_eq!(prepare(&link, "m/v", true), Ok(expected));
    }

    #[test]
    fn what_is_no_empty_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        refused(&dir.path().join("absent"), "mkdir -p");
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        refused(&file, "not a directory");
        refused(dir.path(), "nonempty");
    }
}
