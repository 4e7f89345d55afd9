//! Ends sessions whose clients are silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xtfs_core::Error;

use crate::mrc::Mrc;

const INTERVAL: Duration = Duration::from_millis(500);

pub(super) async fn run(mrc: Arc<Mrc>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.stop.cancelled() => return,
        }
        for session in mrc.clocks.expired(Instant::now()) {
            match mrc.end_session(session).await {
                Ok(_) => tracing::info!(%session, "a session has expired: its client is silent"),
                // Closed in between.
                Err(Error::SessionLost) => mrc.clocks.forget(session),
                Err(err) => tracing::warn!(%session, %err, "a session cannot be ended yet"),
            }
        }
    }
}
