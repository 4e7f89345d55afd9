//! A mounted volume.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::programs::{Ran, last_lines, program, run};

/// Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    log: PathBuf,
    mounted: bool,
    _folder: TempDir,
}

impl Mount {
    #[track_caller]
    pub(crate) fn new(spec: &str, args: &[&str]) -> Self {
        let (mount, ran) = Self::attempt(spec, args);
        ran.ok();
        mount
    }

    /// For mounts that are expected to fail.
    #[track_caller]
    pub fn attempt(spec: &str, args: &[&str]) -> (Self, Ran) {
        let folder = TempDir::with_prefix("xtfs-mount-").expect("a temporary folder");
        let (point, log) = (folder.path().join("mnt"), folder.path().join("log"));
        std::fs::create_dir(&point).expect("a mount point");
        let (shown, logging) = (point.display().to_string(), format!("log={}", log.display()));
        let mut all = vec![spec, shown.as_str(), "-o", logging.as_str()];
        all.extend(args);
        let ran = run(program("mount-xtfs"), &all);
        (Mount { point, log, mounted: ran.code == 0, _folder: folder }, ran)
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// File of the kernel with the number of requests that have no answer yet.
    #[track_caller]
    pub fn waiting(&self) -> PathBuf {
        let connections = Path::new("/sys/fs/fuse/connections");
        let device = std::fs::metadata(&self.point).expect("it is mounted").dev();
        let connection = connections.join(rustix::fs::minor(device).to_string());
        if !connection.exists() {
            run(
                "mount",
                &["-t".as_ref(), "fusectl".as_ref(), "none".as_ref(), connections.as_os_str()],
            )
            .ok();
        }
        connection.join("waiting")
    }

    /// SIGSTOP, SIGCONT and the like, to the process that serves it.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let pid = self.pid().expect("it is served");
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal with a name");
        rustix::process::kill_process(pid, signal).expect("it is ours to signal");
    }

    /// Starts no other process: a copy of this one would close files on a mount that may have stopped.
    fn pid(&self) -> Option<rustix::process::Pid> {
        let of_ours = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| matches!(byte, 0 | b' ')).collect();
            words.first().is_some_and(|word| word.ends_with(b"mount.xtfs"))
                && words.contains(&self.point.as_os_str().as_encoded_bytes())
        };
        let mut entries = std::fs::read_dir("/proc").ok()?.flatten();
        let found = entries.find(of_ours)?;
        rustix::process::Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
    }

    /// Returns when everything written has reached the services.
    #[track_caller]
    pub fn unmount(mut self) {
        self.mounted = false;
        run(program("umount-xtfs"), &[&self.point]).ok();
    }
}

impl Mount {
    /// The client dies, as far as the services can tell.
    #[track_caller]
    pub fn kill9(mut self) {
        self.mounted = false;
        let pattern = format!("^mount.xtfs.* {}", self.point.display());
        run("pkill", &["-9", "-f", &pattern]).ok();
        run("umount", &["-l".as_ref(), self.point.as_os_str()]).ok();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- mount at {}: {}", self.point.display(), last_lines(&self.log));
        }
        if self.mounted {
            let ran = run(program("umount-xtfs"), &[&self.point]);
            if ran.code != 0 {
                // A test that fails must not leave a mount behind.
                run("umount", &["-l".as_ref(), self.point.as_os_str()]);
            }
        }
    }
}
