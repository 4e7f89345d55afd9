//! All processes of a session, as the kernel shows them: whether they wait, and whether they can be killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A shell in a session of its own, and all that it starts. Dropping it kills them.
#[derive(Debug)]
pub struct Session {
    shell: Child,
}

/// A thread in one uninterruptible wait, state D: as long as that takes it cannot be killed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    pid: i32,
    thread: i32,
    name: String,
    /// How often the thread has waited in its life.
    number: u64,
}

impl Session {
    /// Runs a script of bash.
    #[track_caller]
    pub fn start(script: &str) -> Self {
        let mut command = Command::new("setsid");
        command.args(["bash", "-c", script]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Session { shell: command.spawn().expect("setsid is part of util-linux") }
    }

    /// Threads that are in state D just now.
    pub fn waits(&self) -> BTreeSet<Wait> {
        let threads = self.processes().into_iter().flat_map(|pid| {
            numbers_in(format!("/proc/{pid}/task")).into_iter().map(move |thread| (pid, thread))
        });
        threads.filter_map(|(pid, thread)| wait_of(pid, thread)).collect()
    }

    /// Panics if one of them is not gone a minute after SIGKILL.
    #[track_caller]
    pub fn kill9(&mut self) {
        let mut left = Vec::new();
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("all processes of the session are gone", || {
                left = self.processes();
                left.iter().for_each(|pid| kill(*pid));
                // Else it stays a zombie.
                let _ = self.shell.try_wait();
                left.is_empty()
            });
        }));
        assert!(killed.is_ok(), "still there after kill -9: {:#?}", self.waits());
    }

    /// Without zombies: they have given back everything.
    fn processes(&self) -> Vec<i32> {
        let session = self.shell.id().to_string();
        let is_ours = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // PID (NAME) STATE PARENT GROUP SESSION …; the name may have brackets and blanks.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            matches!(fields.as_slice(), [state, _, _, of, ..] if *of == session && *state != "Z")
        };
        numbers_in("/proc").into_iter().filter(is_ours).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.processes().into_iter().for_each(kill);
    }
}

fn kill(pid: i32) {
    // One that has just ended is as good as killed.
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
}

fn wait_of(pid: i32, thread: i32) -> Option<Wait> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim().to_owned())
    };
    let number = value("voluntary_ctxt_switches:")?.parse().ok()?;
    value("State:")?.starts_with('D').then_some(())?;
    Some(Wait { pid, thread, name: value("Name:")?, number })
}

fn numbers_in(folder: impl AsRef<Path>) -> Vec<i32> {
    // A process may end meanwhile.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}
