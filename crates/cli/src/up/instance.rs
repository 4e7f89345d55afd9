//! The process behind `xtfs up`: one for each folder, found again by `xtfs down`.
//!
//! The folder holds `up.pid`, locked by the process for as long as it lives, with its id and, once it serves, its
//! address.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use xtfs_rpc::{Address, Failure};

use super::{START_MAX, STOP_MAX, Up, see_log};

const POLL: Duration = Duration::from_millis(50);

/// Held for as long as the process serves.
#[derive(Debug)]
pub(super) struct Instance {
    file: Mutex<File>,
}

impl Instance {
    /// Makes the folder if its parent exists. Refused if another process serves it.
    pub(super) fn claim(data: &Path) -> Result<Self, Failure> {
        let cannot = |what: &str, err: &dyn std::fmt::Display| {
            Failure::new(format!("{what} {}: {err}", data.display()), "see --data")
        };
        match fs::create_dir(data) {
            Ok(()) => {}
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(cannot("make", &err)),
        }
        let path = pid_file(data);
        if !path.exists() && fs::read_dir(data).map_err(|e| cannot("list", &e))?.next().is_some() {
            let text = format!("{} is not empty and not ours", data.display());
            return Err(Failure::new(text, "give an empty or new folder"));
        }
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|err| cannot("open the pid file in", &err))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let text = format!("{} is served by process {}", data.display(), first_line(&mut file));
            return Err(Failure::new(text, format!("xtfs down --data {}", data.display())));
        }
        let instance = Instance { file: Mutex::new(file) };
        instance.write("").map_err(|err| cannot("write the pid file in", &err))?;
        Ok(instance)
    }

    /// Says that everything is served.
    pub(super) fn ready(&self, listen: &Address) -> Result<(), Failure> {
        self.write(&listen.to_string())
            .map_err(|err| Failure::new(format!("write the pid file: {err}"), "is the disk full?"))
    }

    fn write(&self, address: &str) -> std::io::Result<()> {
        let mut file = self.file.lock().expect("nobody panics while writing it");
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}\n{address}\n", std::process::id())
    }
}

/// Starts this program again in the background and returns when it serves.
pub(super) async fn start_in_background(up: &Up) -> Result<(), Failure> {
    // Here, so that what is wrong is said here; the process in the background claims it again.
    drop(Instance::claim(&up.data)?);
    let log = up.data.join("xtfs.log");
    let mut child = spawn(&log).map_err(|err| Failure::new(format!("start: {err}"), ""))?;
    let end = Instant::now() + START_MAX;
    while Instant::now() < end {
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err(last_words(&log));
        }
        if serving(&up.data, child.id()) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(see_log(&log))
}

fn spawn(log: &Path) -> std::io::Result<Child> {
    let out = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--foreground");
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // Not in the terminal's group: an interrupt there is not meant for it.
    command.process_group(0).spawn()
}

/// What the process said last is why it ended.
fn last_words(log: &Path) -> Failure {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().last().and_then(|line| line.strip_prefix("xtfs up: ")) {
        Some(line) => Failure::new(line, ""),
        None => see_log(log),
    }
}

/// Whether the process says that it serves.
fn serving(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(pid_file(data)).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(pid.to_string().as_str()) && lines.next().is_some_and(|at| !at.is_empty())
}

/// Asks the process to stop and waits until it has.
pub(super) async fn stop(data: &Path) -> Result<(), Failure> {
    let none = || {
        let text = format!("{} is not running", data.display());
        Failure::new(text, "see --data of xtfs up")
    };
    let mut file =
        File::options().read(true).write(true).open(pid_file(data)).map_err(|_| none())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Err(none());
    }
    let pid = first_line(&mut file).parse().ok().and_then(Pid::from_raw).ok_or_else(none)?;
    kill_process(pid, Signal::TERM)
        .map_err(|err| Failure::new(format!("stop process {pid:?}: {err}"), "are you root?"))?;
    let end = Instant::now() + STOP_MAX;
    // The lock goes when the process does.
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > end {
            let text = format!("process {} does not end", pid.as_raw_nonzero());
            return Err(Failure::new(text, format!("see {}", data.join("xtfs.log").display())));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn pid_file(data: &Path) -> PathBuf {
    data.join("up.pid")
}

fn first_line(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read is shown as nothing.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.lines().next().unwrap_or_default().to_owned()
}
