//! One service as a process that can be killed and started again.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;
use crate::programs::{last_lines, program};

#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    args: Vec<String>,
    address: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts `name --listen 127.0.0.1:PORT ARGS…` on a port that was free, logging to `log`.
    pub fn start(name: &str, args: Vec<String>, log: PathBuf) -> Self {
        let address = free_address();
        let mut daemon = Daemon { program: program(name), args, address, log, child: None };
        daemon.restart();
        daemon
    }

    /// Starts it again on the same port, and returns when it listens.
    pub fn restart(&mut self) {
        self.spawn();
        eventually(&format!("{} listens", self.name()), || {
            self.assert_alive();
            TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok()
        });
    }

    /// Starts it again and returns at once: it may well refuse to run.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name());
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = Command::new(&self.program);
        command.args(["--listen", &self.address.to_string()]).args(&self.args);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        self.child = Some(command.spawn().expect("our own program starts"));
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Requests and reads, writes and syncs that it has answered since its start.
    pub fn answered(&self) -> u64 {
        let counts = |line: &str| {
            line.starts_with("xtfs_requests_total") || line.starts_with("xtfs_io_total")
        };
        let count =
            |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        let metrics = self.metrics();
        metrics.lines().filter(|line| counts(line)).filter_map(count).sum()
    }

    /// As Prometheus gets them.
    pub fn metrics(&self) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_else(|err| panic!("ask {} for its metrics: {err}", self.address))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As the kernel does to a process that is out of luck.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is ours to kill");
        child.wait().expect("it is ours to wait for");
    }

    /// As an administrator does. Returns the exit code.
    pub fn terminate(&mut self) -> i32 {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> i32 {
        let mut child = self.child.take().expect("it runs");
        let mut code = None;
        eventually(&format!("{} ends", self.name()), || {
            code = child.try_wait().expect("it is ours to wait for");
            code.is_some()
        });
        code.and_then(|status| status.code()).unwrap_or(-1)
    }

    /// SIGSTOP, SIGCONT and the like. Stopped means that none of its threads goes on.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().expect("it runs"));
        let named = rustix::process::Signal::from_named_raw(signal).expect("a signal with a name");
        rustix::process::kill_process(pid, named).expect("it is ours to signal");
        if signal == libc::SIGSTOP {
            let threads = format!("/proc/{}/task", pid.as_raw_nonzero());
            let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
                let status =
                    thread.and_then(|thread| std::fs::read_to_string(thread.path().join("status")));
                status.is_ok_and(|status| status.contains("State:\tT"))
            };
            eventually("it stops", || {
                std::fs::read_dir(&threads).expect("it is there").all(is_stopped)
            });
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|done| done.is_none()))
    }

    fn assert_alive(&mut self) {
        if !self.is_running() {
            panic!("{} ended: {}", self.name(), last_lines(&self.log));
        }
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill9();
        }
        if std::thread::panicking() {
            eprintln!("-- {} at {}: {}", self.name(), self.address, last_lines(&self.log));
        }
    }
}

/// A port that the kernel had free just now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}
