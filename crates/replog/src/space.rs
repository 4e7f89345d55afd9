//! Refuses commands before the disk is so full that the log itself would fail.
//!
//! Below `min_free` only commands that free space go on. The file `reserve`, as large, holds back
//! what they need on a disk that others have filled: it is given up when the disk is full, and
//! other commands wait until it was taken again.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::geteuid;
use xtfs_core::{Error, Result};

use crate::directory;

/// At most this part of a disk is kept free, and as much again reserved.
const DISK_PART: u64 = 16;
/// Below this part of the bound nothing is written at all.
const HARD_PART: u64 = 4;
/// Bytes that the store buffers on the smallest disk.
const WRITE_BUFFER_MIN: usize = 1 << 20;
/// A disk with so many bytes free, and so many times the bound, is not measured again for a moment: it is hardly filled
/// so fast, and if it is there is the reserve.
const ROOMY_BYTES: u64 = 4 << 30;
const ROOMY_TIMES: u64 = 8;
const ROOMY_FOR: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Space {
    /// None: in memory, never full.
    dir: Option<PathBuf>,
    min_free: u64,
    reserved: AtomicBool,
    /// When the disk had much more free than the bound.
    roomy: Mutex<Option<Instant>>,
}

/// What the free space allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    All,
    FreeingOnly,
    Nothing,
}

impl Space {
    /// To be called before the store is opened, which writes.
    pub(crate) fn open(dir: Option<&Path>, min_free: u64) -> Result<Self> {
        let dir = dir.map(Path::to_owned);
        let reserved = dir.as_ref().is_some_and(|dir| dir.join("reserve").exists());
        let reserved = AtomicBool::new(reserved);
        let mut space = Space { dir, min_free, reserved, roomy: Mutex::default() };
        if let Some((free, total)) = space.measure()? {
            space.min_free = min_free.min(total / DISK_PART);
            if space.judge(free) == Verdict::Nothing {
                space.give_up_reserve();
            }
        }
        Ok(space)
    }

    /// How much the store may hold in memory, so that it can be written out when the disk is as full
    /// as we let it become.
    pub(crate) fn write_buffer_max(&self) -> usize {
        let bound = if self.min_free == 0 { u64::MAX } else { self.min_free / 2 };
        usize::try_from(bound).unwrap_or(usize::MAX).max(WRITE_BUFFER_MIN)
    }

    /// Whether a command may be written now.
    pub(crate) fn admit(&self, frees_space: bool) -> Result<()> {
        if self.roomy.lock().is_some_and(|since| since.elapsed() < ROOMY_FOR) {
            return Ok(());
        }
        let now = Instant::now();
        let Some((mut free, _)) = self.measure()? else { return Ok(()) };
        let roomy = self.min_free.saturating_mul(ROOMY_TIMES).max(ROOMY_BYTES);
        *self.roomy.lock() = (free >= roomy).then_some(now);
        if self.judge(free) == Verdict::Nothing && frees_space {
            self.give_up_reserve();
            free = self.measure()?.map_or(free, |(free, _)| free);
        }
        match self.judge(free) {
            Verdict::All => Ok(()),
            Verdict::FreeingOnly if frees_space => Ok(()),
            Verdict::FreeingOnly | Verdict::Nothing => Err(Error::NoSpace(format!(
                "{} has {} MiB free, changes need {} MiB; remove files there or enlarge the disk",
                self.dir.as_ref().map_or_else(String::new, |dir| dir.display().to_string()),
                free >> 20,
                // With the reserve, which is taken first.
                self.min_free >> 19,
            ))),
        }
    }

    fn judge(&self, free: u64) -> Verdict {
        let reserved = self.reserved.load(Ordering::Acquire);
        if !reserved && free >= self.min_free.saturating_mul(2) {
            self.take_reserve();
            return Verdict::All;
        }
        verdict(free, self.min_free, reserved)
    }

    /// Free and total bytes of the disk.
    fn measure(&self) -> Result<Option<(u64, u64)>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let stat = statvfs(dir).map_err(|err| {
            Error::Internal(format!("cannot tell the free space of {}: {err}", dir.display()))
        })?;
        // What ext4 keeps back for root is ours if we are root.
        let free = if geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
        Ok(Some((free * stat.f_frsize, stat.f_blocks * stat.f_frsize)))
    }

    fn give_up_reserve(&self) {
        let Some(dir) = &self.dir else { return };
        if self.reserved.swap(false, Ordering::AcqRel)
            && fs::remove_file(dir.join("reserve")).is_ok()
        {
            tracing::warn!(dir = %dir.display(), "the disk is full, the reserve is given up");
        }
    }

    /// Where it cannot be taken the disk is only not kept from being filled by others.
    fn take_reserve(&self) {
        let Some(dir) = &self.dir else { return };
        let path = dir.join("reserve");
        let take = || -> io::Result<()> {
            let file = File::create(&path)?;
            Ok(fallocate(file.as_fd(), FallocateFlags::empty(), 0, self.min_free.max(1))?)
        };
        if let Err(err) = take() {
            let err = directory::failed(&path, "reserve", &err);
            tracing::warn!(%err, "no space is reserved");
        }
        self.reserved.store(true, Ordering::Release);
    }
}

fn verdict(free: u64, min_free: u64, reserved: bool) -> Verdict {
    if free >= min_free && reserved {
        Verdict::All
    } else if free >= min_free / HARD_PART {
        Verdict::FreeingOnly
    } else {
        Verdict::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_free_the_less_is_allowed() {
        assert_eq!(verdict(100, 100, true), Verdict::All);
        assert_eq!(verdict(100, 100, false), Verdict::FreeingOnly);
        assert_eq!(verdict(99, 100, true), Verdict::FreeingOnly);
        assert_eq!(verdict(25, 100, true), Verdict::FreeingOnly);
        assert_eq!(verdict(24, 100, true), Verdict::Nothing);
        assert_eq!(verdict(0, 0, true), Verdict::All);
    }
}
