//! The connection to one target: a stream of requests with a generation, replies in any order.
//!
//! When the stream fails, everything pending fails as `Unavailable`; what is then sent again goes
//! over a new stream, whose hello is answered only when the older requests are finished or dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use xtfs_core::{BootNumber, Error, Generation, Result, TargetId};
use xtfs_proto::v1::{HelloRequest, IoKind, IoReply, IoRequest};
use xtfs_proto::{Header, from_detail};
use xtfs_rpc::{Address, Connector, MESSAGE_BYTES_MAX, status_error};

use crate::retry::pause;

/// Payload that is on its way to or from one target. At the bound requests wait.
const IN_FLIGHT_BYTES_MAX: u32 = 64 << 20;
/// Requests that wait for the stream to take them.
const QUEUED_MAX: usize = 256;
/// A target that does not answer the hello for this long counts as unreachable.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Link {
    target: TargetId,
    /// What every hello says: header and client.
    hello: HelloRequest,
    generation: AtomicU64,
    connecting: tokio::sync::Mutex<()>,
    bytes: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Arc<Live>>,
    /// Of connecting, since it last succeeded.
    failures: u32,
    /// Until then nobody tries, and everybody is told the cause.
    retry_at: Option<Instant>,
    cause: String,
}

/// A stream whose hello was answered.
#[derive(Debug)]
struct Live {
    requests: mpsc::Sender<IoRequest>,
    pending: Arc<Pending>,
    next_id: AtomicU64,
    _reader: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Pending(Mutex<PendingInner>);

#[derive(Debug, Default)]
struct PendingInner {
    /// Why nothing more is answered.
    ended: Option<Error>,
    replies: HashMap<u64, oneshot::Sender<Result<IoReply>>>,
}

impl Link {
    pub(crate) fn new(target: TargetId, header: Header, client: Vec<u8>) -> Self {
        let hello = HelloRequest {
            header: Some(header.into()),
            target: target.to_wire().into(),
            client: client.into(),
            generation: 0,
        };
        Link {
            target,
            hello,
            generation: AtomicU64::new(0),
            connecting: tokio::sync::Mutex::default(),
            bytes: Semaphore::new(IN_FLIGHT_BYTES_MAX as usize),
            state: Mutex::default(),
        }
    }

    /// One attempt. Whatever is wrong with the connection is `Unavailable` or `StaleConnection`,
    /// and the next attempt opens a new one.
    pub(crate) async fn call(
        &self,
        connector: &Connector,
        addresses: &[Address],
        mut request: IoRequest,
        deadline: Instant,
    ) -> Result<IoReply> {
        let weight = request.length.clamp(1, IN_FLIGHT_BYTES_MAX);
        let _in_flight = timeout_at(deadline, self.bytes.acquire_many(weight))
            .await
            .map_err(|_| Error::Deadline("too much is on its way already".into()))?
            .expect("the semaphore is never closed");
        let live = match timeout_at(deadline, self.live(connector, addresses)).await {
            Ok(live) => live?,
            Err(_) => return Err(Error::Deadline("no connection".into())),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        request.deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        let answer = live.ask(request, deadline).await;
        // A late reply must not be taken for one of a newer request, and a late write must be over
        // before anything else: so the stream ends here.
        if let Err(Error::Deadline(_) | Error::StaleConnection | Error::Unavailable(_)) = &answer {
            self.drop_live(&live);
        }
        answer
    }

    /// The stream as it is, or a new one.
    async fn live(&self, connector: &Connector, addresses: &[Address]) -> Result<Arc<Live>> {
        if let Some(live) = self.current()? {
            return Ok(live);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.current()? {
            return Ok(live);
        }
        let mut failed = Error::Unavailable("its address is not known".into());
        for address in addresses {
            match tokio::time::timeout(HELLO_TIMEOUT, self.connect(connector, address)).await {
                Ok(Ok(live)) => {
                    let live = Arc::new(live);
                    let mut state = self.state.lock();
                    *state = State { live: Some(live.clone()), ..State::default() };
                    return Ok(live);
                }
                Ok(Err(err)) => failed = err,
                Err(_) => failed = Error::Unavailable(format!("{address} does not answer")),
            }
        }
        let mut state = self.state.lock();
        if state.failures == 0 {
            tracing::warn!(target = %self.target, err = %failed, "target cannot be reached");
        }
        state.retry_at = Some(Instant::now() + pause(state.failures, rand::random()));
        state.failures = state.failures.saturating_add(1);
        state.cause = failed.to_string();
        Err(failed)
    }

    /// Fails fast while the last failure is fresh.
    fn current(&self) -> Result<Option<Arc<Live>>> {
        let state = self.state.lock();
        if let Some(live) = &state.live {
            return Ok(Some(live.clone()));
        }
        match state.retry_at {
            Some(at) if Instant::now() < at => Err(Error::Unavailable(state.cause.clone())),
            _ => Ok(None),
        }
    }

    async fn connect(&self, connector: &Connector, address: &Address) -> Result<Live> {
        let channel = connector.connect(address).await?;
        let client = xtfs_proto::v1::osd_client::OsdClient::new(channel);
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let generation = Generation(self.generation.fetch_add(1, Ordering::Relaxed) + 1);
        let hello = IoRequest {
            id: 0,
            kind: IoKind::Hello.into(),
            hello: Some(HelloRequest { generation: generation.0, ..self.hello.clone() }),
            ..IoRequest::default()
        };
        let (requests, queued) = mpsc::channel(QUEUED_MAX);
        requests.try_send(hello).expect("the queue is new and empty");
        let replies = client.io(ReceiverStream::new(queued)).await;
        let mut replies = replies.map_err(|status| status_error(&status))?.into_inner();
        let first = replies.message().await.map_err(|status| status_error(&status))?;
        let first = first.ok_or_else(|| Error::Unavailable("the stream ended".into()))?;
        if let Some(detail) = first.error {
            return Err(from_detail(detail));
        }
        let boot = BootNumber(first.boot);
        tracing::debug!(target = %self.target, %address, %generation, %boot, "connected");

        let pending = Arc::new(Pending::default());
        let reader = tokio::spawn({
            let pending = pending.clone();
            async move {
                let why = loop {
                    match replies.message().await {
                        Ok(Some(reply)) => pending.answer(reply),
                        Ok(None) => break Error::Unavailable("the stream ended".into()),
                        Err(status) => break status_error(&status),
                    }
                };
                pending.end(&why);
            }
        });
        let _reader = AbortOnDropHandle::new(reader);
        Ok(Live { requests, pending, next_id: AtomicU64::new(1), _reader })
    }

    fn drop_live(&self, live: &Arc<Live>) {
        let mut state = self.state.lock();
        if state.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            state.live = None;
        }
        drop(state);
        live.pending.end(&Error::Unavailable("the connection was given up".into()));
    }
}

impl Live {
    async fn ask(&self, mut request: IoRequest, deadline: Instant) -> Result<IoReply> {
        request.id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let id = request.id;
        let reply = self.pending.expect(id)?;
        let _forget = Forget { pending: &self.pending, id };
        let sent = timeout_at(deadline, self.requests.send(request)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Unavailable("the stream ended".into())),
            Err(_) => return Err(Error::Deadline("the target takes no requests".into())),
        }
        match timeout_at(deadline, reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Unavailable("the stream ended".into())),
            Err(_) => Err(Error::Deadline("no answer".into())),
        }
    }
}

impl Pending {
    fn expect(&self, id: u64) -> Result<oneshot::Receiver<Result<IoReply>>> {
        let mut inner = self.0.lock();
        if let Some(why) = &inner.ended {
            return Err(why.clone());
        }
        let (reply, receiver) = oneshot::channel();
        inner.replies.insert(id, reply);
        Ok(receiver)
    }

    fn answer(&self, mut reply: IoReply) {
        let waiter = self.0.lock().replies.remove(&reply.id);
        // Nobody waits any more if the caller went away.
        let Some(waiter) = waiter else { return };
        let answer = match reply.error.take() {
            Some(detail) => Err(from_detail(detail)),
            None => Ok(reply),
        };
        let _ = waiter.send(answer);
    }

    fn end(&self, why: &Error) {
        let waiters = {
            let mut inner = self.0.lock();
            inner.ended.get_or_insert_with(|| why.clone());
            std::mem::take(&mut inner.replies)
        };
        for waiter in waiters.into_values() {
            let _ = waiter.send(Err(why.clone()));
        }
    }
}

/// A caller that went away waits for no reply.
struct Forget<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.0.lock().replies.remove(&self.id);
    }
}
