//! Bounds on what is in flight. At a bound a stream is not read any further, which the client feels
//! through flow control: nothing is dropped.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes in flight on one stream: requests that wait or run, and replies that are not sent yet.
pub(crate) const STREAM_BYTES_MAX: usize = 64 << 20;
/// Requests in flight on one stream.
pub(crate) const STREAM_REQUESTS_MAX: usize = 1024;
/// Bytes in flight in a daemon. Each target has its own equal share, so that a disk that stands
/// still does not take it all.
pub(crate) const DAEMON_BYTES_MAX: usize = 512 << 20;
/// The least share of a target, however many there are.
pub(crate) const TARGET_BYTES_MIN: usize = 64 << 20;
/// Counted for every request on top of its data.
const REQUEST_BYTES: usize = 512;

/// Bytes that may be in flight in one place.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    max: usize,
}

/// Taken from budgets until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Budget { free: Arc::new(Semaphore::new(max)), max }
    }

    /// The share of one of `targets`.
    pub(crate) fn of_target(targets: usize) -> Self {
        Self::new((DAEMON_BYTES_MAX / targets.max(1)).max(TARGET_BYTES_MIN))
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn taken(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// Waits until `bytes` are free. More than there is counts as all there is.
    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes.min(self.max)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        permit.expect("the semaphore is never closed")
    }
}

impl Charge {
    /// Takes a request with `bytes` of data from all `budgets`, in the same order everywhere.
    pub(crate) async fn take(budgets: &[&Budget], bytes: usize) -> Charge {
        let mut permits = Vec::with_capacity(budgets.len());
        for budget in budgets {
            permits.push(budget.take(bytes + REQUEST_BYTES).await);
        }
        Charge { _permits: permits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_budget_makes_the_next_one_wait() {
        let budget = Budget::new(REQUEST_BYTES * 4);
        let first = Charge::take(&[&budget], REQUEST_BYTES * 2).await;
        assert_eq!(budget.taken(), REQUEST_BYTES * 3);
        let budgets = [&budget];
        let waiting = Charge::take(&budgets, REQUEST_BYTES);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        let _second = waiting.await;
    }

    #[tokio::test]
    async fn a_request_above_the_whole_budget_is_served_alone() {
        let budget = Budget::new(REQUEST_BYTES);
        let charge = Charge::take(&[&budget], 1 << 30).await;
        assert_eq!(budget.taken(), budget.max());
        drop(charge);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn targets_share_what_the_daemon_may_hold() {
        assert_eq!(Budget::of_target(1).max(), DAEMON_BYTES_MAX);
        assert_eq!(Budget::of_target(4).max(), DAEMON_BYTES_MAX / 4);
        assert_eq!(Budget::of_target(1000).max(), TARGET_BYTES_MIN);
    }
}
