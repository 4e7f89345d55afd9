//! Names that are being changed: what a name leads to stays while the leases on it are asked back.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};
use xtfs_core::{Ino, VolumeId};

/// More names than are changed at once; two that share a lock wait for each other.
const LOCKS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Names(Vec<Mutex<()>>);

/// Held for as long as the names are being changed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held<'a> {
    _locks: (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>),
}

impl Default for Names {
    fn default() -> Self {
        Names((0..LOCKS).map(|_| Mutex::default()).collect())
    }
}

impl Names {
    pub(crate) async fn hold(&self, volume: VolumeId, name: (Ino, &[u8])) -> Held<'_> {
        let lock = self.0[place(volume, name)].lock().await;
        Held { _locks: (lock, None) }
    }

    /// Of both in one order, so that nobody waits for one who waits for him.
    pub(crate) async fn hold_both(
        &self,
        volume: VolumeId,
        a: (Ino, &[u8]),
        b: (Ino, &[u8]),
    ) -> Held<'_> {
        let (a, b) = (place(volume, a), place(volume, b));
        let first = self.0[a.min(b)].lock().await;
        let second = if a == b { None } else { Some(self.0[a.max(b)].lock().await) };
        Held { _locks: (first, second) }
    }
}

fn place(volume: VolumeId, (parent, name): (Ino, &[u8])) -> usize {
    let mut hasher = DefaultHasher::new();
    (volume, parent, name).hash(&mut hasher);
    // Below the number of locks.
    usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default()
}
