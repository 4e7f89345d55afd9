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

impl Closes {
    /// Those of one session that go into one request.
    fn take(&self) -> Option<(SessionId, Vec<Close>)> {
        let mut waiting = self.waiting.lock();
        let session = waiting.first()?.session;
        let same = waiting.extract_if(.., |close| close.session == session);
        Some((session, same.take(CLOSES_MAX).collect()))
    }
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
            while let Some((session, due)) = self.closes.take() {
                // Not one after the other: an MRC that does not answer may be asked by the next ones in vain.
                let mount = self.clone();
                self.tasks.spawn(async move {
                    let (closed, told): (Vec<_>, Vec<_>) =
                        due.into_iter().map(|close| (close.closed, close.told)).unzip();
                    let is_told = mount.tell_closes(session, closed).await;
                    // Who does not wait any more need not know.
                    told.into_iter().for_each(|told| told.send(is_told).unwrap_or_default());
                });
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
