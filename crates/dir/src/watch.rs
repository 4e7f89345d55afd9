//! Streams that tell clients of changes, coalesced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use xtfs_core::{Error, Result};
use xtfs_proto::{to_status, v1};
use xtfs_rpc::WATCH_INTERVAL;

use crate::dir::{Dir, Versions};

/// Between two lists on one stream.
const COALESCE: Duration = Duration::from_millis(100);
/// Streams at once; further ones are refused as overloaded, and ask with `List`.
const WATCHERS_MAX: usize = 20_000;

/// The list now, whenever a fact changes, and every [`WATCH_INTERVAL`] for load and ages.
pub(crate) fn start(
    dir: &Arc<Dir>,
    reached_at: Option<SocketAddr>,
    streams: &TaskTracker,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<v1::ListReply, Status>>> {
    if streams.len() >= WATCHERS_MAX {
        return Err(Error::Overloaded(format!("{WATCHERS_MAX} clients watch the DIR")));
    }
    // One: a client that does not read gets the newest list when it does.
    let (sender, receiver) = mpsc::channel(1);
    let dir = Arc::clone(dir);
    streams.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = feed(&dir, reached_at, &sender) => {}
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn feed(
    dir: &Dir,
    reached_at: Option<SocketAddr>,
    sender: &mpsc::Sender<Result<v1::ListReply, Status>>,
) {
    let mut versions = dir.versions.subscribe();
    loop {
        // A place first: the list must be new when it goes.
        let Ok(place) = sender.reserve().await else { return };
        let seen = *versions.borrow_and_update();
        let list = dir.list_now(reached_at).map_err(to_status);
        let failed = list.is_err();
        place.send(list);
        if failed {
            return;
        }
        sleep(COALESCE).await;
        // At the latest after the interval.
        timeout(WATCH_INTERVAL, facts_change(&mut versions, seen)).await.unwrap_or_default();
    }
}

async fn facts_change(versions: &mut watch::Receiver<Versions>, seen: Versions) {
    let changed = versions.wait_for(|now| now.facts != seen.facts).await.is_ok();
    if !changed {
        // The DIR is gone; the stop token ends this.
        std::future::pending::<()>().await;
    }
}
