//! Our programs, as Cargo built them beside the tests, and others.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|err| panic!("{err}: {} {}", self.stdout, self.stderr))
    }

    /// One clear line on stderr, with this in it.
    #[track_caller]
    pub fn refused(self, code: i32, with: &str) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let lines = self.stderr.trim_end().lines().count();
        assert_eq!(lines, 1, "one line is wanted: {}", self.stderr);
        assert!(self.stderr.contains(with), "{with:?} is not in: {}", self.stderr);
        self
    }
}

/// Path of one of our programs. `cargo test` builds the tests only, so `./test` builds these first.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    // Tests lie in target/release/deps, xtask in target/release.
    let found =
        own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{name} is missing; run: cargo build --release --workspace"))
}

#[track_caller]
pub fn run(program: impl AsRef<Path>, args: &[impl AsRef<OsStr>]) -> Ran {
    let name = program.as_ref();
    let output = Command::new(name).args(args).output();
    let output = output.unwrap_or_else(|err| panic!("start {}: {err}", name.display()));
    Ran {
        // A program that a signal ended has no code.
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether this machine can mount. Says so and returns false where it cannot; panics instead if
/// `XTFS_TEST_MUST_MOUNT` is set, as continuous integration does.
pub fn fuse_or_skip() -> bool {
    let able = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !able {
        let why = "mounting wants root and /dev/fuse";
        assert!(std::env::var_os("XTFS_TEST_MUST_MOUNT").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    able
}

/// The end of a log, for the report of a test that fails.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
