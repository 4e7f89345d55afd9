//! Which targets are left alone for a while because they did not answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Pauses that double with each failure in a row.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    silent: HashMap<K, (Instant, Duration)>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Backoff { silent: HashMap::new() }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    pub(crate) fn may_ask(&self, key: &K, now: Instant) -> bool {
        self.silent.get(key).is_none_or(|(until, _)| now >= *until)
    }

    pub(crate) fn failed(&mut self, key: K, now: Instant) {
        let pause = match self.silent.get(&key) {
            Some((_, pause)) => (*pause * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        self.silent.insert(key, (now + pause, pause));
    }

    pub(crate) fn succeeded(&mut self, key: &K) {
        self.silent.remove(key);
    }

    /// Forgets who has not been asked for long, so that it does not grow with time.
    pub(crate) fn forget_before(&mut self, now: Instant) {
        self.silent.retain(|_, (until, _)| now < *until + 2 * PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_an_answer() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        assert!(backoff.may_ask(&1, now));
        for expected_ms in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
            backoff.failed(1, now);
            let until = now + Duration::from_millis(expected_ms);
            assert!(!backoff.may_ask(&1, until - Duration::from_millis(1)));
            assert!(backoff.may_ask(&1, until));
            now = until;
        }
        backoff.succeeded(&1);
        backoff.failed(1, now);
        assert!(backoff.may_ask(&1, now + PAUSE_MIN));
        backoff.forget_before(now + Duration::from_secs(3600));
        assert!(backoff.silent.is_empty());
    }
}
