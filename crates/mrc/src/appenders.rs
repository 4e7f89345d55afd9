//! Who waits for a turn to append to a file, in the memory of the server that decides: one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};
use xtfs_core::{Error, Ino, Result, VolumeId};

/// Waits at once; beyond it the client is told to come later.
const WAITING_MAX: usize = 16_384;

type File = (VolumeId, Ino);

#[derive(Debug, Default)]
pub(crate) struct Appenders(Mutex<HashMap<File, Arc<Queue>>>);

#[derive(Debug, Default)]
struct Queue {
    first: tokio::sync::Mutex<()>,
    /// Keeps one word for a first one that does not listen yet.
    ended: Notify,
}

/// One who waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    appenders: &'a Appenders,
    file: File,
    queue: Arc<Queue>,
}

impl Appenders {
    pub(crate) fn enter(&self, volume: VolumeId, ino: Ino) -> Result<Place<'_>> {
        let mut queues = self.0.lock();
        let waiting: usize = queues.values().map(|queue| Arc::strong_count(queue) - 1).sum();
        if waiting >= WAITING_MAX {
            return Err(Error::Overloaded("too many wait to append".into()));
        }
        let queue = queues.entry((volume, ino)).or_default().clone();
        Ok(Place { appenders: self, file: (volume, ino), queue })
    }

    /// A turn may have ended.
    pub(crate) fn tell(&self, volume: VolumeId, ino: Ino) {
        if let Some(queue) = self.0.lock().get(&(volume, ino)) {
            queue.ended.notify_one();
        }
    }

    pub(crate) fn tell_all(&self) {
        self.0.lock().values().for_each(|queue| queue.ended.notify_one());
    }
}

impl Place<'_> {
    /// Returns when all who came before have gone.
    pub(crate) async fn first(&self) -> MutexGuard<'_, ()> {
        self.queue.first.lock().await
    }

    /// Returns when a turn has ended since the last call; only the first one may ask.
    pub(crate) async fn ended(&self) {
        self.queue.ended.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.appenders.0.lock();
        // The table and this one.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const FILE: File = (VolumeId(1), Ino(20));

    #[tokio::test]
    async fn one_is_first_and_hears_of_an_end_that_came_before() {
        let appenders = Appenders::default();
        let [a, b] = [1, 2].map(|_| appenders.enter(FILE.0, FILE.1).unwrap());
        let first = a.first().await;
        assert!(timeout(Duration::ZERO, b.first()).await.is_err());
        appenders.tell(FILE.0, FILE.1);
        a.ended().await;
        assert!(timeout(Duration::ZERO, a.ended()).await.is_err());
        drop(first);
        let _first = b.first().await;
        appenders.tell_all();
        b.ended().await;
    }

    #[test]
    fn a_queue_goes_with_the_last_who_waits() {
        let appenders = Appenders::default();
        let [a, b] = [1, 2].map(|_| appenders.enter(FILE.0, FILE.1).unwrap());
        drop(a);
        assert_eq!(appenders.0.lock().len(), 1);
        drop(b);
        assert!(appenders.0.lock().is_empty());
    }
}
