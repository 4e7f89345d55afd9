//! Closes are told to the MRC several at a time, as nobody waits for them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;
use xtfs_core::SessionId;
use xtfs_proto::v1;

use crate::file_state::FileState;
use crate::method;
use crate::mount::Mount;

/// A close waits so long for others.
pub(crate) const GATHER: Duration = Duration::from_millis(10);
/// Closes in one request.
const CLOSES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Closes {
    waiting: Mutex<Vec<Close>>,
    more: Notify,
}

#[derive(Debug)]
struct Close {
    session: SessionId,
    closed: v1::Closed,
    /// Whether the MRC knows.
    told: oneshot::Sender<bool>,
}

impl Mount {
    /// Whether the MRC knows of the close now; it has lost the session otherwise, or nobody knows.
    pub(crate) async fn tell_closed_with_others(
        &self,
        file: &FileState,
        closed: v1::Closed,
    ) -> bool {
        let (told, is_told) = oneshot::channel();
        self.closes.waiting.lock().push(Close { session: file.session, closed, told });
        self.closes.more.notify_one();
        tokio::select! {
            is_told = is_told => is_told.unwrap_or(false),
            () = self.stop.cancelled() => false,
        }
    }

    /// Runs as long as the mount.
    pub(crate) async fn keep_closing(self: Arc<Self>) {
        loop {
            self.closes.more.notified().await;
            sleep(GATHER).await;
            let mut due = std::mem::take(&mut *self.closes.waiting.lock());
            while !due.is_empty() {
                let session = due[0].session;
                let (same, rest): (Vec<_>, Vec<_>) =
                    due.into_iter().partition(|close| close.session == session);
                due = rest;
                let mut same = same.into_iter().peekable();
                while same.peek().is_some() {
                    let (closed, told): (Vec<_>, Vec<_>) = same
                        .by_ref()
                        .take(CLOSES_MAX)
                        .map(|close| (close.closed, close.told))
                        .unzip();
                    // Not one after the other: an MRC that does not answer may be asked by the next ones in vain.
                    let mount = self.clone();
                    self.tasks.spawn(async move {
                        let is_told = mount.tell_closes(session, closed).await;
                        // Who does not wait any more need not know.
                        told.into_iter().for_each(|told| told.send(is_told).unwrap_or_default());
                    });
                }
            }
        }
    }

    pub(crate) async fn tell_closes(&self, session: SessionId, closed: Vec<v1::Closed>) -> bool {
        let files = closed.len();
        let request = v1::CloseRequest { header: None, volume: self.mrc.volume.0, closed };
        let answer = self.mrc.change_in::<method::Close>(session, request, self.deadline()).await;
        if let Err(err) = &answer {
            tracing::warn!(files, %err, "close files at the MRC");
        }
        answer.is_ok()
    }
}
