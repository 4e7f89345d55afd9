//! A process of its own with a file open, that takes locks as it is told: see `xtfs-locker`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::{eventually, program};

/// Who waits this long for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dropping it kills it.
#[derive(Debug)]
pub struct Locker {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Locker {
    pub fn start(path: &Path) -> Self {
        let mut command = Command::new(program("xtfs-locker"));
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("our own program starts");
        let orders = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Locker { child, orders, answers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it reads its orders");
    }

    #[track_caller]
    pub fn answer(&self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("an answer")
    }

    /// One that is there already.
    pub fn answer_now(&self) -> Option<String> {
        self.answers.try_recv().ok()
    }

    #[track_caller]
    pub fn ask(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    #[track_caller]
    pub fn expect(&mut self, order: &str, answer: &str) {
        assert_eq!(self.ask(order), answer, "{order}");
    }

    /// Returns when it is gone.
    pub fn kill9(mut self) {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it is ours to wait for");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is ours to signal");
    }

    /// Waits until the process sleeps in the kernel, asking for a lock.
    #[track_caller]
    pub fn wait_until_it_waits(&self) {
        self.wait_until_so_many_wait(1);
    }

    /// The same of its threads.
    #[track_caller]
    pub fn wait_until_so_many_wait(&self, count: usize) {
        let waits = |task: &fs::DirEntry| {
            let syscall = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            let number = syscall.split(' ').next().and_then(|it| it.parse::<i64>().ok());
            number.is_some_and(|it| [libc::SYS_fcntl, libc::SYS_flock].contains(&it))
        };
        eventually("it waits", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives");
            tasks.filter_map(Result::ok).filter(waits).count() >= count
        });
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
