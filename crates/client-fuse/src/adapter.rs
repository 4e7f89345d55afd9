//! The seam to the kernel. Only this module and those below it name fuser, so that a fork or an upgrade stays here.
//!
//! A callback runs on an event thread: it takes apart what the kernel asked and hands over to a task on the runtime.
//! A task that panics drops its reply, and fuser answers a dropped reply with EIO: the mount goes on.

mod answer;
mod convert;
mod directory;
mod filesystem;
mod handles;
mod listing;
mod locks;
mod request;
mod session;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_client::{Caller, Volume};
use xtfs_core::{Error, ErrorClass, Ino};

pub(crate) use session::{Serving, serve};

use crate::caller::Callers;
use handles::Handles;

/// Bytes of writes taken from the kernel and not answered. At the bound an event thread waits, and with it the kernel.
const WRITES_BYTES_MAX: usize = 256 << 20;
/// Bytes of reads asked for and not answered. At the bound the next read waits in its task.
const READS_BYTES_MAX: usize = 256 << 20;

/// How the kernel is to be served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// No page cache.
    pub(crate) direct_io: bool,
    /// Mounted with `-o sync`: every write is as with `O_SYNC`.
    pub(crate) sync: bool,
    pub(crate) judge: Judge,
}

/// Who checks permissions. The MRC always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// The kernel as well. Only so it guards FIFOs, sockets and devices, which it opens without asking us.
    Both,
    /// For volumes on which owners give files away: the kernel would refuse that by itself.
    MrcAlone,
}

/// What all callbacks and tasks of a mount share.
#[derive(Debug)]
struct Shared {
    volume: Arc<Volume>,
    settings: Settings,
    runtime: Handle,
    tasks: TaskTracker,
    /// The kernel does not ask any more: nobody waits for locks.
    ending: CancellationToken,
    callers: Callers,
    handles: Handles,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Shared {
    fn new(volume: Arc<Volume>, settings: Settings, runtime: Handle) -> Self {
        Shared {
            volume,
            settings,
            runtime,
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            callers: Callers::default(),
            handles: Handles::default(),
            writes: Arc::new(Semaphore::new(WRITES_BYTES_MAX)),
            reads: Arc::new(Semaphore::new(READS_BYTES_MAX)),
        }
    }

    /// The kernel calls 1 whatever is mounted. With a subdirectory mounted, it and the volume's root change places;
    /// the latter cannot be reached from below.
    fn swap_root(&self, ino: u64) -> u64 {
        swap_root(ino, self.volume.root())
    }

    /// What the kernel is told; what an operator should know is logged.
    fn errno(&self, operation: &'static str, caller: &Caller, error: &Error) -> fuser::Errno {
        match error.class() {
            ErrorClass::Decided => tracing::debug!(operation, pid = caller.pid, %error, "refused"),
            ErrorClass::Undecided => {
                tracing::warn!(operation, pid = caller.pid, %error, "failed at the deadline");
            }
            ErrorClass::Broken => tracing::error!(operation, pid = caller.pid, %error, "failed"),
        }
        fuser::Errno::from_i32(error.errno())
    }
}

fn swap_root(ino: u64, mounted: Ino) -> u64 {
    match ino {
        ino if ino == Ino::ROOT.0 => mounted.0,
        ino if ino == mounted.0 => Ino::ROOT.0,
        ino => ino,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_1_to_the_kernel() {
        for mounted in [1, 77] {
            assert_eq!(swap_root(1, Ino(mounted)), mounted);
            assert_eq!(swap_root(mounted, Ino(mounted)), 1);
            assert_eq!(swap_root(5, Ino(mounted)), 5);
        }
    }
}
