//! A metadata and data workload that remembers what it was told is done.
//!
//! It runs in processes of its own: a process that has files open on the mount and starts a service makes a copy of
//! itself first, which closes those files, and a close may wait for that very service.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::counted::Counted;
use crate::programs::program;
use crate::tree;

/// Names of files that must be there, with the seed of their bytes.
pub type Acknowledged = BTreeMap<String, u64>;

/// One worker with a folder of its own.
#[derive(Debug)]
pub struct Worker<'a> {
    pub folder: PathBuf,
    pub seed: u64,
    pub stop: &'a AtomicBool,
}

impl Worker<'_> {
    /// Makes, rewrites, renames and removes files until told to stop. Any error ends it: a service that was killed is
    /// a pause, not a failure.
    pub fn run(&self, acknowledged: impl Fn()) -> io::Result<Acknowledged> {
        fs::create_dir_all(&self.folder)?;
        let mut done = Acknowledged::new();
        let mut round = 0;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            self.step(round, &mut done).map_err(|err| {
                let operation = format!(
                    "{}, round {round} of seed {}: {err}",
                    self.folder.display(),
                    self.seed
                );
                io::Error::new(err.kind(), operation)
            })?;
            acknowledged();
        }
        Ok(done)
    }

    fn step(&self, round: u64, done: &mut Acknowledged) -> io::Result<()> {
        let name = format!("f{}", round % 37);
        match round % 7 {
            0 if done.contains_key(&name) => {
                fs::remove_file(self.folder.join(&name))?;
                done.remove(&name);
            }
            1 if done.contains_key(&name) => {
                let moved = format!("m{}", round % 11);
                fs::rename(self.folder.join(&name), self.folder.join(&moved))?;
                if let Some(content) = done.remove(&name) {
                    done.insert(moved, content);
                }
            }
            2 => {
                let folder = self.folder.join("d");
                fs::create_dir(&folder)?;
                fs::remove_dir(&folder)?;
            }
            _ => {
                let content = self.seed + round;
                let mut file = File::create(self.folder.join(&name))?;
                file.write_all(&content_of(content))?;
                if round.is_multiple_of(5) {
                    file.sync_all()?;
                }
                done.insert(name, content);
            }
        }
        Ok(())
    }
}

/// A worker's process.
#[derive(Debug)]
pub struct Running {
    folder: PathBuf,
    process: Counted,
}

impl Running {
    /// `operations` counts what was acknowledged.
    pub fn start(folder: PathBuf, seed: u64, operations: &Arc<AtomicU64>) -> Self {
        let mut command = Command::new(program("xtfs-workload"));
        command.arg(&folder).arg(seed.to_string());
        Running { folder, process: Counted::start(command, operations) }
    }

    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Ends it between two operations, and compares its folder with what it did. Returns the number of files there.
    #[track_caller]
    pub fn stop_and_check(self) -> usize {
        let done: Acknowledged = serde_json::from_str(&self.process.end()).expect("what was done");
        check(&self.folder, &done).unwrap_or_else(|err| panic!("{err}"));
        done.len()
    }
}

/// Bytes of a file: their number and themselves depend on the seed alone.
pub fn content_of(seed: u64) -> Vec<u8> {
    let len = seed % 5 * 70_000 + seed % 1_000;
    tree::bytes(usize::try_from(len).expect("small"), seed)
}

/// The folder holds what `done` says, and nothing else.
fn check(folder: &Path, done: &Acknowledged) -> Result<(), String> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let listed = listed.map_err(|err| format!("list {}: {err}", folder.display()))?;
    let listed: Vec<_> =
        listed.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if let Some(name) = listed.iter().find(|name| !done.contains_key(*name)) {
        return Err(format!("{} was removed and is there", folder.join(name).display()));
    }
    for (name, content) in done {
        let path = folder.join(name);
        let read = fs::read(&path).map_err(|err| format!("{}: {err}", path.display()))?;
        if read != content_of(*content) {
            return Err(format!("{} has other bytes than were written", path.display()));
        }
    }
    Ok(())
}
