//! The threads of one target: store calls wait for its disk here, and for no other's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, Result};

/// Store calls of one target at a time. More wait in order of their arrival.
pub(crate) const WORKERS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Workers {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Counts a call that waits, also if its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Workers {
    pub(crate) fn new() -> Self {
        Workers { free: Arc::new(Semaphore::new(WORKERS_MAX)), waiting: AtomicUsize::new(0) }
    }

    /// Runs `call` on a thread. At the deadline the caller gets an error; a call that has begun goes
    /// on to its end all the same, and keeps its thread until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = {
            let _waiting = Waiting::new(&self.waiting);
            timeout_at(deadline, Arc::clone(&self.free).acquire_owned())
                .await
                .map_err(|_| Error::Deadline("the disk has too much to do".into()))?
                .expect("the semaphore is never closed")
        };
        let running = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call()
        });
        match timeout_at(deadline, running).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(Error::Internal(format!("a store call failed: {panic}"))),
            Err(_) => Err(Error::Deadline("the disk does not answer".into())),
        }
    }

    pub(crate) fn running(&self) -> usize {
        WORKERS_MAX - self.free.available_permits()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_stuck_call_is_answered_at_its_deadline_and_keeps_its_thread() {
        let workers = Workers::new();
        let (release, stuck) = mpsc::channel::<()>();
        let call = move || {
            let _closed = stuck.recv();
            Ok(())
        };
        let answer = workers.run(soon(), call).await;
        assert!(matches!(answer, Err(Error::Deadline(_))));
        assert_eq!(workers.running(), 1);
        assert_eq!(workers.run(late(), || Ok(7)).await, Ok(7));
        drop(release);
        while workers.running() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn calls_beyond_the_bound_wait_until_their_deadline() {
        let workers = Arc::new(Workers::new());
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(parking_lot::Mutex::new(stuck));
        for _ in 0..WORKERS_MAX {
            let stuck = Arc::clone(&stuck);
            let workers = Arc::clone(&workers);
            let call = move || {
                let _closed = stuck.lock().recv();
                Ok(())
            };
            let _running = tokio::spawn(async move { workers.run(late(), call).await });
        }
        while workers.running() < WORKERS_MAX {
            tokio::task::yield_now().await;
        }
        let answer = workers.run(soon(), || Ok(())).await;
        assert!(matches!(answer, Err(Error::Deadline(_))));
        assert_eq!(workers.waiting(), 0);
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let workers = Workers::new();
        let answer = workers.run(late(), || -> Result<()> { panic!("boom") }).await;
        assert!(matches!(answer, Err(Error::Internal(_))));
    }
}
