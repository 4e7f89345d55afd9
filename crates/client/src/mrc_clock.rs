//! The MRC's time, as the client estimates it: writes are stamped with it, so that `make` works
//! over nodes with bad clocks.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xtfs_core::Timestamp;

#[derive(Debug)]
pub(crate) struct MrcClock {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// MRC's time less the time since `start`.
    offset_ns: Option<i64>,
    /// The latest time that was seen or given out.
    latest: Timestamp,
}

impl MrcClock {
    pub(crate) fn new(start: Instant) -> Self {
        MrcClock { start, inner: Mutex::default() }
    }

    /// A reply that was made when the server's clock said `server`, and came `round_trip` after its
    /// request was sent. So the server's clock now shows between `server` and that much more; a slow
    /// reply says little, and leaves the estimate of a quick one as it is.
    pub(crate) fn observe(&self, server: Timestamp, now: Instant, round_trip: Duration) {
        let low = server.0.saturating_sub(nanos(now - self.start));
        let high = low.saturating_add(nanos(round_trip));
        let mut inner = self.inner.lock();
        let offset = match inner.offset_ns {
            Some(offset) => offset.clamp(low, high),
            None => low.saturating_add(nanos(round_trip) / 2),
        };
        inner.offset_ns = Some(offset);
        inner.latest = inner.latest.max(server);
    }

    /// Never below any time that was seen.
    pub(crate) fn now(&self, now: Instant) -> Timestamp {
        let mut inner = self.inner.lock();
        let offset = inner.offset_ns.unwrap_or_default();
        let estimate = Timestamp(offset.saturating_add(nanos(now - self.start)));
        inner.latest = inner.latest.max(estimate);
        inner.latest
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_server_and_never_goes_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = |ms: i64| Timestamp(ms * 1_000_000);
        let clock = MrcClock::new(start);
        clock.observe(ms(5000), at(10), Duration::from_millis(4));
        assert_eq!(clock.now(at(10)), ms(5002));
        assert_eq!(clock.now(at(110)), ms(5102));
        // A slow answer, made early on its way: it does not contradict.
        clock.observe(ms(5060), at(112), Duration::from_millis(80));
        assert_eq!(clock.now(at(112)), ms(5104));
        // The server was set back: the clock stands until it is caught up.
        clock.observe(ms(5050), at(120), Duration::ZERO);
        assert_eq!(clock.now(at(120)), ms(5104));
        assert_eq!(clock.now(at(220)), ms(5150));
    }
}
