//! The service's time: it never goes back, whatever the host's clock does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use xtfs_core::{Clock, Timestamp};

#[derive(Debug)]
pub(crate) struct ServiceTime {
    clock: Arc<dyn Clock>,
    latest: AtomicI64,
}

impl ServiceTime {
    /// `latest` is what the replicated state has seen.
    pub(crate) fn new(clock: Arc<dyn Clock>, latest: Timestamp) -> Self {
        ServiceTime { clock, latest: AtomicI64::new(latest.0) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now().0;
        Timestamp(self.latest.fetch_max(now, Ordering::AcqRel).max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use xtfs_core::ManualClock;

    #[test]
    fn time_does_not_go_back() {
        let clock = Arc::new(ManualClock::new(Timestamp(100)));
        let time = ServiceTime::new(clock.clone(), Timestamp(150));
        assert_eq!(time.now(), Timestamp(150));
        clock.advance(Duration::from_nanos(100));
        assert_eq!(time.now(), Timestamp(200));
    }
}
