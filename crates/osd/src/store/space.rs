//! How full a target is, and which writes may still take space (O5).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::fstatvfs;
use xtfs_core::{Error, Result};

use super::Options;
use super::segment::failed;

/// Smallest reserve of a large disk, in bytes.
const RESERVE_MIN: u64 = 1 << 30;
/// For so long the kernel's answer is used again; what is written meanwhile is counted.
const FRESH: Duration = Duration::from_millis(100);

/// Bytes of a target. `total = used + free + reserve` but for what others use of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub used: u64,
    /// What may still be written; the reserve is not in it.
    pub free: u64,
    /// The file system that holds it: targets on one disk are told by it.
    pub device: u64,
    /// The target has a capacity of its own and counts by itself.
    pub capped: bool,
}

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// Also what `syncfs` is called on.
    pub(super) root: File,
    device: u64,
    reserve: Option<u64>,
    capacity: Option<u64>,
    /// Bytes of all columns; kept for a target with a capacity only.
    used: AtomicU64,
    /// Bytes written since the kernel was asked.
    spent: AtomicU64,
    asked: Mutex<Option<(Instant, DiskSpace)>>,
}

#[derive(Clone, Copy, Debug)]
struct DiskSpace {
    total: u64,
    used: u64,
    /// For us; less than what is free where root has a share of its own.
    available: u64,
}

impl Disk {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Disk> {
        let root = File::open(path).map_err(|err| failed(path, &err))?;
        let device = root.metadata().map_err(|err| failed(path, &err))?.dev();
        Ok(Disk {
            path: path.to_owned(),
            root,
            device,
            reserve: options.reserve,
            capacity: options.capacity,
            used: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            asked: Mutex::new(None),
        })
    }

    pub(super) fn is_capped(&self) -> bool {
        self.capacity.is_some()
    }

    /// A column went from `before` to `after` bytes on disk.
    pub(super) fn resized(&self, before: u64, after: u64) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            let less = |used: u64| Some(used.saturating_sub(before - after));
            // The closure never refuses.
            let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Whether `bytes` may be allocated; if so they count as written.
    pub(super) fn take(&self, bytes: u64) -> Result<bool> {
        if self.capacity.is_some_and(|cap| self.used.load(Ordering::Relaxed) + bytes > cap) {
            return Ok(false);
        }
        let fits = |disk: DiskSpace, spent: u64| {
            disk.available.saturating_sub(spent) >= self.reserve(disk.total) + bytes
        };
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed);
        Ok(fits(self.disk(FRESH)?, spent) || fits(self.disk(Duration::ZERO)?, 0))
    }

    pub(super) fn full(&self) -> Error {
        Error::NoSpace(format!(
            "target {} is at its reserve or capacity; delete files or add a target",
            self.path.display()
        ))
    }

    pub(super) fn space(&self) -> Result<Space> {
        let disk = self.disk(FRESH)?;
        let spent = self.spent.load(Ordering::Relaxed);
        let free = disk.available.saturating_sub(spent + self.reserve(disk.total));
        let space =
            Space { device: self.device, free, used: disk.used, total: disk.total, capped: false };
        let Some(capacity) = self.capacity else {
            return Ok(space);
        };
        let used = self.used.load(Ordering::Relaxed);
        let free = free.min(capacity.saturating_sub(used));
        Ok(Space { total: capacity, used, free, capped: true, ..space })
    }

    fn reserve(&self, total: u64) -> u64 {
        self.reserve.unwrap_or_else(|| reserve_of(total))
    }

    fn disk(&self, age: Duration) -> Result<DiskSpace> {
        let mut asked = self.asked.lock();
        if let Some((when, disk)) = *asked
            && when.elapsed() < age
        {
            return Ok(disk);
        }
        let told = fstatvfs(&self.root).map_err(|err| failed(&self.path, &err.into()))?;
        let disk = DiskSpace {
            total: told.f_blocks * told.f_frsize,
            used: (told.f_blocks - told.f_bfree) * told.f_frsize,
            available: told.f_bavail * told.f_frsize,
        };
        self.spent.store(0, Ordering::Relaxed);
        *asked = Some((Instant::now(), disk));
        Ok(disk)
    }
}

fn reserve_of(total: u64) -> u64 {
    (total / 100).max(RESERVE_MIN).min(total / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_quarter_of_a_small_disk_and_a_hundredth_of_a_large_one() {
        const G: u64 = 1 << 30;
        assert_eq!(reserve_of(G), G / 4);
        assert_eq!(reserve_of(50 * G), G);
        assert_eq!(reserve_of(1000 * G), 10 * G);
    }
}
