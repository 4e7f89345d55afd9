//! A member and small groups, on memory and on RocksDB.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod counter;
mod faults;
mod lone;
mod members;
mod power;

/// Waits for `condition` with a deadline.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not come true in 30 s");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
