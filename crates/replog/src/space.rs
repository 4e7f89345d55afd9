//! Refuses commands before the disk is so full that the log itself would fail.
//!
//! Below `min_free_bytes` only commands that free space go on. The file `reserve` holds back what
//! they need on a disk that others have filled: it is given up when the disk is full, and taken
//! again when there is room.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use xtfs_core::{Error, Result};

use crate::directory;

/// At most this part of a disk is kept free, and as much again reserved.
const DISK_PART: u64 = 16;
/// Below this part of the bound nothing is written at all.
const HARD_PART: u64 = 4;

#[derive(Debug)]
pub(crate) struct Space {
    /// None: in memory, never full.
    dir: Option<PathBuf>,
    min_free: u64,
}

/// What the free space allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    All,
    FreeingOnly,
    Nothing,
}

impl Space {
    /// Before the store is opened, which writes.
    pub(crate) fn open(dir: Option<PathBuf>, min_free: u64) -> Result<Self> {
        let mut space = Space { dir, min_free };
        let Some((free, total)) = space.measure()? else { return Ok(space) };
        space.min_free = min_free.min(total / DISK_PART);
        if verdict(free, space.min_free) == Verdict::Nothing {
            space.give_up_reserve();
        } else {
            space.take_reserve(free);
        }
        Ok(space)
    }

    /// Whether a command may be written now.
    pub(crate) fn admit(&self, frees_space: bool) -> Result<()> {
        let Some((mut free, _)) = self.measure()? else { return Ok(()) };
        if verdict(free, self.min_free) == Verdict::Nothing && frees_space {
            self.give_up_reserve();
            free = self.measure()?.map_or(free, |(free, _)| free);
        }
        match verdict(free, self.min_free) {
            Verdict::All => {
                self.take_reserve(free);
                Ok(())
            }
            Verdict::FreeingOnly if frees_space => Ok(()),
            Verdict::FreeingOnly | Verdict::Nothing => Err(Error::NoSpace(format!(
                "{} has {} MiB free, changes need {} MiB; remove files there or enlarge the disk",
                self.dir.as_ref().map_or_else(String::new, |dir| dir.display().to_string()),
                free >> 20,
                self.min_free >> 20,
            ))),
        }
    }

    /// Free and total bytes of the disk.
    fn measure(&self) -> Result<Option<(u64, u64)>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let stat = statvfs(dir).map_err(|err| {
            Error::Internal(format!("cannot tell the free space of {}: {err}", dir.display()))
        })?;
        Ok(Some((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)))
    }

    fn reserve(&self) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join("reserve"))
    }

    fn give_up_reserve(&self) {
        if let Some(path) = self.reserve()
            && fs::remove_file(&path).is_ok()
        {
            tracing::warn!(path = %path.display(), "the disk is full, the reserve is given up");
        }
    }

    /// Failing is no error: the disk is then not kept from being filled by others.
    fn take_reserve(&self, free: u64) {
        let Some(path) = self.reserve() else { return };
        if free < self.min_free.saturating_mul(3) || path.exists() {
            return;
        }
        let take = || -> std::io::Result<()> {
            let file = File::create(&path)?;
            Ok(fallocate(file.as_fd(), FallocateFlags::empty(), 0, self.min_free.max(1))?)
        };
        if let Err(err) = take() {
            let err = directory::failed(&path, "reserve", &err);
            tracing::warn!(%err, "no space is reserved");
        }
    }
}

fn verdict(free: u64, min_free: u64) -> Verdict {
    if free >= min_free {
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
        assert_eq!(verdict(100, 100), Verdict::All);
        assert_eq!(verdict(99, 100), Verdict::FreeingOnly);
        assert_eq!(verdict(25, 100), Verdict::FreeingOnly);
        assert_eq!(verdict(24, 100), Verdict::Nothing);
        assert_eq!(verdict(0, 0), Verdict::All);
    }
}
