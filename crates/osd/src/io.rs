//! The `Io` stream of one client to one target: requests come in, replies go out in any order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xtfs_core::{ClientId, Error, Generation, Result};
use xtfs_proto::{error_detail, v1};

use crate::budget::{Budget, Charge, STREAM_BYTES_MAX, STREAM_REQUESTS_MAX};
use crate::connections;
use crate::osd::Osd;
use crate::raw::{Replies, Requests};
use crate::request::{deadline, footprint};
use crate::target::Target;

/// Time for the first message of a stream.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// A reply with what it takes from the budgets until it is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) reply: v1::IoReply,
    _charge: Option<Charge>,
    _slot: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Outgoing {
    /// A reply that takes nothing.
    pub(crate) fn new(reply: v1::IoReply) -> Self {
        Outgoing { reply, _charge: None, _slot: None }
    }
}

/// A stream that said hello.
#[derive(Debug)]
struct Opened {
    target: Arc<Target>,
    stream: connections::Stream,
}

/// Serves `requests` on a task of the daemon, until the client ends or `stop`.
pub(crate) fn serve(osd: &Arc<Osd>, requests: Requests) -> Replies {
    // As many as there are slots, so that no request waits for room to be answered.
    let (replies, receiver) = mpsc::channel(STREAM_REQUESTS_MAX + 1);
    let driver = Driver { osd: Arc::clone(osd), replies, stop: osd.stop.clone() };
    osd.tasks.spawn(driver.run(requests));
    Replies::new(receiver)
}

#[derive(Debug)]
struct Driver {
    osd: Arc<Osd>,
    replies: mpsc::Sender<Outgoing>,
    stop: CancellationToken,
}

impl Driver {
    async fn run(self, mut requests: Requests) {
        let first = tokio::time::timeout(HELLO_MAX, self.next(&mut requests)).await;
        let Ok(Some(first)) = first else { return };
        let Some(mut opened) = self.hello(first).await else { return };
        let bytes = Budget::new(STREAM_BYTES_MAX);
        let slots = Arc::new(tokio::sync::Semaphore::new(STREAM_REQUESTS_MAX));
        while let Some(request) = self.next(&mut requests).await {
            if request.kind() == v1::IoKind::Hello {
                // A new generation on the stream that is there.
                match self.hello(request).await {
                    Some(again) => opened = again,
                    None => return,
                }
                continue;
            }
            let received = Instant::now();
            let slot = Arc::clone(&slots).acquire_owned().await;
            let slot = slot.expect("the semaphore is never closed");
            let budgets = [&bytes, &opened.target.budget];
            let charge = Charge::take(&budgets, footprint(&request)).await;
            self.spawn(&opened, request, received, charge, slot);
        }
        // Requests in flight hold senders of their own; the stream ends with the last of them.
    }

    /// `None`: the client is gone, or we stop.
    async fn next(&self, requests: &mut Requests) -> Option<v1::IoRequest> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.replies.closed() => None,
            message = requests.message() => match message {
                Ok(message) => message,
                Err(err) => {
                    tracing::debug!("an Io stream broke: {err}");
                    None
                }
            },
        }
    }

    async fn hello(&self, request: v1::IoRequest) -> Option<Opened> {
        let id = request.id;
        let answer = tokio::select! {
            () = self.stop.cancelled() => Err(Error::Unavailable("the OSD stops".into())),
            answer = self.open(request) => answer,
        };
        let (reply, opened) = match answer {
            Ok(opened) => {
                let boot = opened.target.boot();
                (v1::IoReply { id, boot, ..Default::default() }, Some(opened))
            }
            Err(err) => {
                let error = Some(error_detail(err));
                (v1::IoReply { id, error, ..Default::default() }, None)
            }
        };
        self.replies.send(Outgoing::new(reply)).await.ok()?;
        opened
    }

    async fn open(&self, request: v1::IoRequest) -> Result<Opened> {
        let hello = (request.kind() == v1::IoKind::Hello).then_some(request.hello).flatten();
        let hello = hello.ok_or_else(|| Error::Invalid("a stream begins with a hello".into()))?;
        let (target, _deadline) = self.osd.enter(hello.header.as_ref(), &hello.target)?;
        let client = ClientId::from_wire(&hello.client)?;
        let generation = Generation(hello.generation);
        target.connections.hello(client, generation).await?;
        let stream = target.connections.stream(client, generation);
        Ok(Opened { target, stream })
    }

    fn spawn(
        &self,
        opened: &Opened,
        request: v1::IoRequest,
        received: Instant,
        charge: Charge,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) {
        let (osd, target) = (Arc::clone(&self.osd), Arc::clone(&opened.target));
        // Before the task: what was received in this generation is in flight from now on.
        let in_flight = opened.stream.begin();
        let replies = self.replies.clone();
        self.osd.tasks.spawn(async move {
            let deadline = received + deadline(request.deadline_ms);
            let reply = target.io(&osd, request, deadline, in_flight).await;
            // The client is gone if this fails; then nobody waits for the reply.
            let _gone = replies.send(Outgoing { reply, _charge: Some(charge), _slot: Some(slot) });
            let _gone = _gone.await;
        });
    }
}
