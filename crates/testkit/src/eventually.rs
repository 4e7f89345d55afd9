//! Waiting for a condition, never for a duration.

use std::time::{Duration, Instant};

/// Long enough for the slowest machine: who waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns once `condition` holds; panics with `what` if it does not within a minute.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the one place where tests wait")]
pub fn eventually_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
