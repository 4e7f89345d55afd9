//! An OSD in this process, and a client that speaks its protocol by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use xtfs_core::capability::{Capability, Key, Rights};
use xtfs_core::checksum::piece_sums;
use xtfs_core::units::Bytes as Size;
use xtfs_core::{
    ClientId, Clock, ClusterId, ColumnId, ColumnIndex, DataNumber, DataVersion, Error, FileEpoch,
    Floor, ManualClock, Result, SessionId, StripeLayout, TargetId, Timestamp, VolumeId,
};
use xtfs_osd::{Config, Daemon, Targets};
use xtfs_proto::{Header, from_detail, v1};
use xtfs_rpc::{Address, Connector, OsdService, Server, call};

pub(crate) const SET: u64 = 7;
pub(crate) const SET_EPOCH: u64 = 5;
pub(crate) const EPOCH: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    root: TempDir,
    dirs: usize,
    pub(crate) cluster: ClusterId,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: Key,
    pub(crate) client: ClientId,
    running: Option<Running>,
}

struct Running {
    daemon: Daemon,
    targets: Vec<TargetId>,
    address: Address,
    server: Server,
    serving: JoinHandle<()>,
    stop: CancellationToken,
    connector: Connector,
    _keys: watch::Sender<Vec<Key>>,
}

/// One `Io` stream.
pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<v1::IoRequest>,
    pub(crate) replies: Streaming<v1::IoReply>,
}

impl Fixture {
    pub(crate) async fn start(dirs: usize) -> Self {
        let mut fixture = Fixture {
            root: tempfile::tempdir().unwrap(),
            dirs,
            cluster: ClusterId::generate(),
            clock: Arc::new(ManualClock::new(Timestamp(1_000_000_000_000))),
            key: Key::new(1, vec![9; 32]),
            client: ClientId::generate(),
            running: None,
        };
        fixture.open().await;
        for n in 0..dirs {
            fixture.configure(n, SET, SET_EPOCH, fixture.target(n)).await;
        }
        fixture
    }

    pub(crate) fn path(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("osd{n}"))
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            data: (0..self.dirs).map(|n| self.path(n)).collect(),
            reserve: Some(Size(1 << 20)),
            ..Config::default()
        }
    }

    pub(crate) async fn open(&mut self) {
        let targets = Targets::open(self.config(), self.cluster).await.unwrap();
        let ids = targets.ids();
        let (keys, keys_seen) = watch::channel(vec![self.key.clone()]);
        let stop = CancellationToken::new();
        let server = Server::new("xtfs-osd", &[]);
        let clock: Arc<dyn Clock> = self.clock.clone();
        let daemon = targets.serve(keys_seen, &server, clock, &stop).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let serving = tokio::spawn(server.clone().serve(listener, stop.clone()));
        self.running = Some(Running {
            daemon,
            targets: ids,
            address,
            server,
            serving,
            stop,
            connector: Connector::new(),
            _keys: keys,
        });
    }

    pub(crate) async fn close(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.daemon.close().await;
        running.serving.await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.close().await;
        self.open().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn target(&self, n: usize) -> TargetId {
        self.running().targets[n]
    }

    pub(crate) fn metrics(&self) -> String {
        self.running().server.metrics().text()
    }

    pub(crate) fn osd(&self) -> OsdService {
        self.running().connector.osd(&self.running().address)
    }

    pub(crate) fn header(&self) -> Option<v1::RequestHeader> {
        Some(Header::new(Some(self.cluster)).into())
    }

    pub(crate) fn wire_target(&self, n: usize) -> Bytes {
        self.target(n).to_wire().into()
    }

    pub(crate) async fn configure(&self, n: usize, set: u64, epoch: u64, member: TargetId) {
        let members = vec![Bytes::from(member.to_wire())];
        let request = v1::ConfigureSetsRequest {
            header: self.header(),
            target: self.wire_target(n),
            sets: vec![v1::SetEpoch { set, epoch, members }],
        };
        call(PATIENCE, self.osd().configure_sets(request)).await.unwrap();
    }

    pub(crate) fn hello(&self, n: usize, generation: u64) -> v1::HelloRequest {
        v1::HelloRequest {
            header: self.header(),
            target: self.wire_target(n),
            client: self.client.to_wire().into(),
            generation,
        }
    }

    /// A stream that says `hello`, and what it is told.
    pub(crate) async fn stream_with(
        &self,
        hello: v1::HelloRequest,
    ) -> (Stream, Result<v1::IoReply>) {
        let (requests, queued) = mpsc::channel(4096);
        let hello = v1::IoRequest {
            kind: v1::IoKind::Hello.into(),
            hello: Some(hello),
            ..Default::default()
        };
        requests.send(hello).await.unwrap();
        let io = self.osd().io(ReceiverStream::new(queued)).await.unwrap();
        let mut stream = Stream { requests, replies: io.into_inner() };
        let reply = stream.next().await;
        (stream, reply)
    }

    pub(crate) async fn stream(&self, n: usize, generation: u64) -> Stream {
        let (stream, reply) = self.stream_with(self.hello(n, generation)).await;
        reply.unwrap();
        stream
    }

    pub(crate) async fn unary_hello(&self, n: usize, generation: u64) -> Result<v1::HelloReply> {
        call(PATIENCE, self.osd().hello(self.hello(n, generation))).await
    }

    pub(crate) fn capability(&self) -> Capability {
        Capability {
            volume: VolumeId(1),
            data: DataNumber(2),
            version: DataVersion(0),
            layout: StripeLayout::new(4096, 1).unwrap(),
            rights: Rights::ReadWrite,
            file_epoch: FileEpoch(EPOCH),
            floor: Floor::NONE,
            session: SessionId(4),
            expires: self.clock.now().plus(Duration::from_secs(60)),
        }
    }

    pub(crate) fn with(&self, capability: Capability, request: v1::IoRequest) -> v1::IoRequest {
        let file_epoch = capability.file_epoch.0;
        let token = capability.sign(&self.key).into();
        v1::IoRequest { capability: token, file_epoch, ..request }
    }

    pub(crate) fn write(&self, offset: u64, data: impl Into<Bytes>) -> v1::IoRequest {
        let data = data.into();
        let request = v1::IoRequest {
            kind: v1::IoKind::Write.into(),
            offset,
            length: u32::try_from(data.len()).unwrap(),
            block_sums: piece_sums(offset, &data),
            mtime_ns: 77,
            data,
            ..request()
        };
        self.with(self.capability(), request)
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> v1::IoRequest {
        let kind = v1::IoKind::Read.into();
        self.with(self.capability(), v1::IoRequest { kind, offset, length, ..request() })
    }

    pub(crate) async fn unary(
        &self,
        n: usize,
        generation: u64,
        io: v1::IoRequest,
    ) -> Result<v1::IoReply> {
        let reading = io.kind() == v1::IoKind::Read;
        let request = v1::UnaryIo {
            header: self.header(),
            target: self.wire_target(n),
            generation,
            client: self.client.to_wire().into(),
            io: Some(io),
        };
        let mut osd = self.osd();
        let reply = match reading {
            true => call(PATIENCE, osd.read(request)).await?,
            false => call(PATIENCE, osd.write(request)).await?,
        };
        decide(reply)
    }
}

impl Stream {
    pub(crate) async fn next(&mut self) -> Result<v1::IoReply> {
        let reply = tokio::time::timeout(PATIENCE, self.replies.message()).await.expect("no reply");
        match reply {
            Ok(Some(reply)) => decide(reply),
            Ok(None) => Err(Error::Unavailable("the stream ended".into())),
            Err(status) => Err(xtfs_rpc::status_error(&status)),
        }
    }

    /// For one request at a time.
    pub(crate) async fn call(&mut self, request: v1::IoRequest) -> Result<v1::IoReply> {
        self.requests.send(request).await.unwrap();
        self.next().await
    }
}

fn decide(mut reply: v1::IoReply) -> Result<v1::IoReply> {
    match reply.error.take() {
        Some(detail) => Err(from_detail(detail)),
        None => Ok(reply),
    }
}

fn request() -> v1::IoRequest {
    v1::IoRequest {
        column: Some(column().into()),
        set: SET,
        set_epoch: SET_EPOCH,
        ..Default::default()
    }
}

pub(crate) fn sync() -> v1::IoRequest {
    v1::IoRequest { kind: v1::IoKind::Sync.into(), ..request() }
}

pub(crate) fn column() -> ColumnId {
    ColumnId {
        volume: VolumeId(1),
        data: DataNumber(2),
        index: ColumnIndex(0),
        version: DataVersion(0),
    }
}
