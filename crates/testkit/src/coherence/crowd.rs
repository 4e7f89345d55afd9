//! One of many who make, rename, remove and list the same few names in one directory, until told to stop.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::draw::one;

const NAMES: usize = 24;

#[derive(Debug)]
pub struct Member<'a> {
    pub folder: PathBuf,
    pub seed: u64,
    pub stop: &'a AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Mkdir,
    Create,
    Rename,
    Unlink,
    Rmdir,
    List,
    Stat,
}

impl Act {
    const ALL: [Act; 7] =
        [Act::Mkdir, Act::Create, Act::Rename, Act::Unlink, Act::Rmdir, Act::List, Act::Stat];

    /// What the others may have made of it.
    fn may_end_with(self) -> &'static [Errno] {
        match self {
            Act::Mkdir => &[Errno::EXIST],
            Act::Create => &[Errno::ISDIR],
            Act::Rename => &[Errno::NOENT, Errno::ISDIR, Errno::NOTDIR],
            Act::Unlink => &[Errno::NOENT, Errno::ISDIR],
            Act::Rmdir => &[Errno::NOENT, Errno::NOTDIR],
            Act::List => &[],
            Act::Stat => &[Errno::NOENT],
        }
    }
}

impl Member<'_> {
    /// Calls `done` after each operation. Any error that the others are no reason for ends it.
    pub fn run(&self, done: impl Fn()) -> Result<(), String> {
        let mut random = StdRng::seed_from_u64(self.seed);
        while !self.stop.load(Ordering::Relaxed) {
            let act = one(&mut random, &Act::ALL);
            let [name, other] = [(); 2].map(|()| random.random_range(0..NAMES));
            let ended = self.perform(act, name, other);
            if let Err(errno) = ended
                && !act.may_end_with().contains(&errno)
            {
                let folder = self.folder.display();
                return Err(format!("{act:?} of n{name}, n{other} in {folder}: {errno:?}"));
            }
            done();
        }
        Ok(())
    }

    fn perform(&self, act: Act, name: usize, other: usize) -> Result<(), Errno> {
        let [path, to] = [name, other].map(|number| self.folder.join(format!("n{number}")));
        match act {
            Act::Mkdir => rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)),
            Act::Create => {
                let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
                let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
                rustix::io::write(file, b"made").map(drop)
            }
            Act::Rename => rustix::fs::renameat(CWD, path, CWD, to),
            Act::Unlink => rustix::fs::unlink(path),
            Act::Rmdir => rustix::fs::rmdir(path),
            Act::List => {
                let listed =
                    fs::read_dir(&self.folder).and_then(|all| all.collect::<Result<Vec<_>, _>>());
                let listed =
                    listed.map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
                let mut names: Vec<_> = listed.iter().map(fs::DirEntry::file_name).collect();
                names.sort();
                names.dedup();
                // A name twice is no answer.
                if names.len() == listed.len() { Ok(()) } else { Err(Errno::UCLEAN) }
            }
            Act::Stat => rustix::fs::lstat(path).map(drop),
        }
    }
}
