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
    failure: Option<Error>,
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

    /// Whether there is a stream, as far as anybody has noticed.
    pub(crate) fn is_live(&self) -> bool {
        let state = self.state.lock();
        state.live.as_ref().is_some_and(|live| live.pending.0.lock().ended.is_none())
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
        state.failure = Some(failed.clone());
        Err(failed)
    }

    /// Fails fast while the last failure is fresh.
    fn current(&self) -> Result<Option<Arc<Live>>> {
        let state = self.state.lock();
        if let Some(live) = &state.live {
            return Ok(Some(live.clone()));
        }
        match (state.retry_at, &state.failure) {
            (Some(at), Some(failure)) if Instant::now() < at => Err(failure.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use tokio_stream::wrappers::TcpListenerStream;
    use tokio_stream::{Stream, StreamExt};
    use tonic::{Request, Response, Status, Streaming};
    use xtfs_core::ClientId;
    use xtfs_proto::error_detail;
    use xtfs_proto::v1::osd_server::{Osd, OsdServer};

    /// What the server does with a batch of requests.
    #[derive(Clone, Debug)]
    enum Act {
        /// Waits for so many, and answers the last first.
        Reverse(usize),
        Refuse(Error),
        End,
    }

    /// A server that does as it is told. Says hello to every generation.
    #[derive(Clone, Debug, Default)]
    struct Scripted {
        acts: Arc<Mutex<VecDeque<Act>>>,
        generations: Arc<Mutex<Vec<u64>>>,
    }

    impl Scripted {
        async fn act(
            &self,
            requests: &mut Streaming<IoRequest>,
            replies: &mpsc::Sender<Result<IoReply, Status>>,
        ) -> Option<()> {
            let first = requests.next().await?.ok()?;
            let act = self.acts.lock().pop_front().unwrap_or(Act::Reverse(1));
            let answers = match act {
                Act::End => return None,
                Act::Refuse(err) => {
                    let error = Some(error_detail(err));
                    vec![IoReply { id: first.id, error, ..IoReply::default() }]
                }
                Act::Reverse(count) => {
                    let mut batch = vec![first];
                    while batch.len() < count {
                        batch.push(requests.next().await?.ok()?);
                    }
                    let echo = |request: &IoRequest| IoReply {
                        id: request.id,
                        column_length: request.offset,
                        ..IoReply::default()
                    };
                    batch.iter().rev().map(echo).collect()
                }
            };
            for answer in answers {
                replies.send(Ok(answer)).await.ok()?;
            }
            Some(())
        }
    }

    macro_rules! unanswered {
        ($($name:ident($request:ident) -> $reply:ident;)*) => {
            #[tonic::async_trait]
            impl Osd for Scripted {
                type IoStream = Pin<Box<dyn Stream<Item = Result<IoReply, Status>> + Send>>;

                async fn io(
                    &self,
                    request: Request<Streaming<IoRequest>>,
                ) -> Result<Response<Self::IoStream>, Status> {
                    let mut requests = request.into_inner();
                    let (replies, queued) = mpsc::channel(8);
                    let scripted = self.clone();
                    tokio::spawn(async move {
                        let hello = requests.next().await?.ok()?.hello?;
                        scripted.generations.lock().push(hello.generation);
                        replies.send(Ok(IoReply { boot: 1, ..IoReply::default() })).await.ok()?;
                        loop {
                            scripted.act(&mut requests, &replies).await?;
                        }
                        #[expect(unreachable_code, reason = "tells the block's type")]
                        Some(())
                    });
                    Ok(Response::new(Box::pin(ReceiverStream::new(queued))))
                }

                $(async fn $name(
                    &self,
                    _request: Request<xtfs_proto::v1::$request>,
                ) -> Result<Response<xtfs_proto::v1::$reply>, Status> {
                    Err(Status::unimplemented("not scripted"))
                })*
            }
        };
    }

    unanswered! {
        read(UnaryIo) -> IoReply;
        write(UnaryIo) -> IoReply;
        hello(HelloRequest) -> HelloReply;
        sync(SyncRequest) -> SyncReply;
        punch(PunchRequest) -> PunchReply;
        seal(SealRequest) -> SealReply;
        delete(DeleteRequest) -> DeleteReply;
        configure_sets(ConfigureSetsRequest) -> ConfigureSetsReply;
        stat(StatRequest) -> StatReply;
        list(ListColumnsRequest) -> ListColumnsReply;
        verify(VerifyRequest) -> VerifyReply;
    }

    struct Fixture {
        scripted: Scripted,
        link: Link,
        connector: Connector,
        address: Address,
    }

    impl Fixture {
        async fn new(acts: impl IntoIterator<Item = Act>) -> Self {
            let scripted = Scripted::default();
            scripted.acts.lock().extend(acts);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Address::from(listener.local_addr().unwrap());
            let serve = tonic::transport::Server::builder()
                .add_service(OsdServer::new(scripted.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(serve);
            let client = ClientId::generate().to_wire();
            let link = Link::new(TargetId::generate(), Header::new(None), client);
            Fixture { scripted, link, connector: Connector::new(), address }
        }

        async fn call(&self, offset: u64) -> Result<u64> {
            let request =
                IoRequest { kind: IoKind::Read.into(), offset, length: 1, ..IoRequest::default() };
            let deadline = Instant::now() + Duration::from_secs(20);
            let addresses = [self.address.clone()];
            let reply = self.link.call(&self.connector, &addresses, request, deadline).await?;
            Ok(reply.column_length)
        }

        fn generations(&self) -> Vec<u64> {
            self.scripted.generations.lock().clone()
        }
    }

    #[tokio::test]
    async fn replies_in_any_order_find_their_requests() {
        let fixture = Fixture::new([Act::Reverse(3)]).await;
        let answers = tokio::join!(fixture.call(10), fixture.call(20), fixture.call(30));
        assert_eq!(answers, (Ok(10), Ok(20), Ok(30)));
        assert_eq!(fixture.generations(), [1]);
    }

    #[tokio::test]
    async fn o2_what_is_pending_on_a_broken_stream_fails_and_goes_on_under_a_new_generation() {
        let fixture = Fixture::new([Act::End]).await;
        let err = fixture.call(10).await.unwrap_err();
        assert!(matches!(err, Error::Unavailable(_)), "{err}");
        assert_eq!(fixture.call(20).await, Ok(20));
        assert_eq!(fixture.generations(), [1, 2]);
    }

    #[tokio::test]
    async fn o2_a_refused_generation_is_replaced() {
        let fixture = Fixture::new([Act::Refuse(Error::StaleConnection)]).await;
        assert_eq!(fixture.call(10).await, Err(Error::StaleConnection));
        assert_eq!(fixture.call(20).await, Ok(20));
        assert_eq!(fixture.generations(), [1, 2]);
    }

    #[tokio::test]
    async fn a_decided_answer_leaves_the_stream_as_it_is() {
        let fixture = Fixture::new([Act::Refuse(Error::NoSpace("full".into()))]).await;
        assert_eq!(fixture.call(10).await, Err(Error::NoSpace("full".into())));
        assert_eq!(fixture.call(20).await, Ok(20));
        assert_eq!(fixture.generations(), [1]);
    }

    #[tokio::test]
    async fn nobody_connects_while_a_failure_is_fresh() {
        let mut fixture = Fixture::new([]).await;
        let listening = fixture.address.clone();
        // Nobody listens at port 1.
        fixture.address = Address::new("127.0.0.1", 1);
        let first = fixture.call(10).await.unwrap_err();
        fixture.link.state.lock().retry_at = Some(Instant::now() + Duration::from_secs(60));
        fixture.address = listening;
        let second = fixture.call(10).await.unwrap_err();
        assert_eq!(second, first);
        assert!(fixture.generations().is_empty());
        fixture.link.state.lock().retry_at = Some(Instant::now());
        assert_eq!(fixture.call(10).await, Ok(10));
    }
}
