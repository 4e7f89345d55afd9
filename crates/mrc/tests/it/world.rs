//! The MRC of a test, what surrounds it, and a client.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use xtfs_core::{
    ClientId, ClusterId, ColumnId, GroupId, RequestNumber, Result, SessionId, SystemClock, TargetId,
};
use xtfs_mrc::{Config, Running};
use xtfs_proto::v1::dir_server::DirServer;
use xtfs_proto::v1::osd_server::OsdServer;
use xtfs_proto::{Header, v1};
use xtfs_rpc::{Address, Connector, DirAddresses, MrcService, Server, call};

use crate::doubles::{Dir, Osds, Target};

pub(crate) const G: u64 = 1 << 30;
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) dir: Dir,
    pub(crate) osds: Osds,
    pub(crate) targets: Vec<TargetId>,
    dir_address: Address,
    expiry_s: u64,
    folder: tempfile::TempDir,
    mrc: Option<Server1>,
    _stop: DropGuard,
}

/// One run of the MRC.
struct Server1 {
    running: Running,
    address: Address,
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    (listener, address)
}

impl World {
    /// With a DIR, `targets` targets, and sessions that live `expiry_s` seconds without renewal.
    pub(crate) async fn start(targets: u8, expiry_s: u64) -> World {
        let dir = Dir::new(ClusterId::generate());
        let osds = Osds::default();
        let (listener, dir_address) = listen().await;
        let server = Server::new("doubles", &[]);
        server.add(DirServer::new(dir.clone())).await;
        server.add(OsdServer::new(osds.clone())).await;
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(listener, stop.clone()));
        let mut world = World {
            dir,
            osds,
            targets: Vec::new(),
            dir_address,
            expiry_s,
            folder: tempfile::tempdir().unwrap(),
            mrc: None,
            _stop: stop.drop_guard(),
        };
        for _ in 0..targets {
            world.add_target();
        }
        world.start_mrc().await;
        world
    }

    pub(crate) fn add_target(&mut self) -> TargetId {
        let id = TargetId::generate();
        self.targets.push(id);
        self.osds.targets.lock().insert(id, Target::default());
        let target = v1::Target {
            id: id.to_wire().into(),
            path: format!("/disk{}", self.targets.len()),
            total_bytes: 100 * G,
            used_bytes: 10 * G,
            free_bytes: 80 * G,
            filesystem: format!("fs{}", self.targets.len()),
            boot: 1,
            ..Default::default()
        };
        self.dir.targets.lock().push(v1::TargetRecord {
            target: Some(target),
            node: "node".into(),
            addresses: vec![self.dir_address.to_string()],
            state: v1::TargetState::Online.into(),
            alive: true,
            ..Default::default()
        });
        id
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("mrc")
    }

    async fn start_mrc(&mut self) {
        let (listener, address) = listen().await;
        let config = Config {
            dir: Some(DirAddresses::new(self.dir_address.clone())),
            data: Some(self.data()),
            session_expiry_s: self.expiry_s,
            min_free_bytes: 1 << 20,
            ..Config::default()
        };
        let server = Server::new("xtfs-mrc", &[xtfs_mrc::SERVICE]);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.clone().serve(listener, stop.clone()));
        let clock = Arc::new(SystemClock);
        let port = address.port();
        let running = xtfs_mrc::start(config, clock, &server, port, &stop).await.unwrap();
        self.mrc = Some(Server1 { running, address, serving, stop });
    }

    pub(crate) async fn restart(&mut self) {
        let Server1 { running, serving, stop, .. } = self.mrc.take().unwrap();
        stop.cancel();
        running.stop().await.unwrap();
        serving.await.unwrap();
        self.start_mrc().await;
    }

    pub(crate) fn silence(&self, target: TargetId, silent: bool) {
        self.osds.on(target, |target| target.silent = silent);
    }

    /// For requests outside any session.
    pub(crate) fn tool(&self) -> Client {
        let address = self.mrc.as_ref().unwrap().address.clone();
        Client {
            mrc: Connector::new().mrc(&address),
            cluster: self.dir.cluster,
            session: SessionId(0),
            volume: 0,
            id: ClientId::generate(),
            next: AtomicU64::new(1),
            alive: None,
        }
    }

    pub(crate) async fn make_volume(&self, name: &str, width: u32) -> Result<v1::Volume> {
        let layout = v1::StripeLayout { stripe_size: 4096, stripe_width: width };
        let tool = self.tool();
        let request = v1::CreateVolumeRequest {
            header: tool.plain(),
            name: name.into(),
            policy: Some(v1::VolumePolicy { layout: Some(layout), ..Default::default() }),
            mode: 0o777,
            uid: 0,
            gid: 0,
        };
        let reply = call(WAIT_MAX, tool.mrc.clone().create_volume(request)).await?;
        Ok(reply.volume.unwrap())
    }

    /// A mount of volume `v`, which is made if need be, that renews its session.
    pub(crate) async fn mount(&self, width: u32) -> Client {
        let made = self.make_volume("v", width).await;
        let volume = made.map_or(1 << 32 | 1, |volume| volume.id);
        let mut client = self.tool();
        client.volume = volume;
        client.open_session().await.unwrap();
        client.keep_alive().await;
        client
    }
}

pub(crate) struct Client {
    pub(crate) mrc: MrcService,
    cluster: ClusterId,
    pub(crate) session: SessionId,
    pub(crate) volume: u64,
    id: ClientId,
    next: AtomicU64,
    alive: Option<JoinHandle<()>>,
}

impl Client {
    fn header(&self, number: u64) -> Option<v1::RequestHeader> {
        let header = Header {
            group: GroupId(1),
            session: self.session,
            number: RequestNumber(number),
            lowest_unanswered: RequestNumber(number.min(1)),
            deadline: Some(Duration::from_secs(10)),
            ..Header::new(Some(self.cluster))
        };
        Some(header.into())
    }

    /// Of a read.
    pub(crate) fn plain(&self) -> Option<v1::RequestHeader> {
        self.header(0)
    }

    /// Of a mutation.
    pub(crate) fn numbered(&self) -> Option<v1::RequestHeader> {
        self.header(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn open_session(&mut self) -> Result<()> {
        let request = v1::OpenSessionRequest {
            header: self.plain(),
            volume: self.volume,
            client: self.id.to_wire().into(),
            description: "test".into(),
        };
        let reply = call(WAIT_MAX, self.mrc.clone().open_session(request)).await?;
        self.session = SessionId(reply.session);
        Ok(())
    }

    pub(crate) async fn keep_alive(&mut self) {
        let (up, ups) = tokio::sync::mpsc::channel(4);
        let first = v1::SessionUp {
            header: self.plain(),
            sequence: 1,
            lowest_unanswered: 1,
            ..v1::SessionUp::default()
        };
        up.send(first).await.unwrap();
        let ups = tokio_stream::wrappers::ReceiverStream::new(ups);
        let mut downs = self.mrc.clone().session(ups).await.unwrap().into_inner();
        let down = downs.next().await.unwrap().unwrap();
        assert_eq!((down.sequence, down.lost), (1, false));
        let mut recovered_term = down.log.unwrap().term;
        self.alive = Some(tokio::spawn(async move {
            for sequence in 2.. {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let renew = v1::SessionUp {
                    sequence,
                    lowest_unanswered: 1,
                    recovered_term,
                    ..v1::SessionUp::default()
                };
                if up.send(renew).await.is_err() {
                    return;
                }
                match downs.next().await {
                    Some(Ok(down)) if !down.lost => {
                        assert_eq!(down.sequence, sequence);
                        recovered_term = down.log.unwrap().term;
                    }
                    _ => return,
                }
            }
        }));
    }

    /// Is silent from now on, as a client that was killed.
    pub(crate) fn die(&mut self) {
        if let Some(alive) = self.alive.take() {
            alive.abort();
        }
    }

    pub(crate) async fn create(&self, name: &str) -> Result<v1::OpenReply> {
        let request = self.create_request(name);
        call(WAIT_MAX, self.mrc.clone().create(request)).await
    }

    pub(crate) fn create_request(&self, name: &str) -> v1::CreateRequest {
        v1::CreateRequest {
            header: self.numbered(),
            volume: self.volume,
            parent: 1,
            name: name.to_owned().into(),
            mode: 0o644,
            read: true,
            write: true,
            ..Default::default()
        }
    }

    pub(crate) async fn open(
        &self,
        ino: u64,
        write: bool,
        truncate: bool,
    ) -> Result<v1::OpenReply> {
        self.send_open(self.open_request(ino, write, truncate)).await
    }

    pub(crate) fn open_request(&self, ino: u64, write: bool, truncate: bool) -> v1::OpenRequest {
        let (header, volume) = (self.numbered(), self.volume);
        v1::OpenRequest { header, volume, ino, read: true, write, truncate, execute: false }
    }

    pub(crate) async fn send_open(&self, request: v1::OpenRequest) -> Result<v1::OpenReply> {
        call(WAIT_MAX, self.mrc.clone().open(request)).await
    }

    pub(crate) async fn close(&self, ino: u64, report: Option<v1::WriteReport>) -> Result<()> {
        let (header, volume) = (self.numbered(), self.volume);
        let closed = vec![v1::Closed { ino, write: true, report }];
        let request = v1::CloseRequest { header, volume, closed };
        call(WAIT_MAX, self.mrc.clone().close(request)).await.map(drop)
    }

    pub(crate) async fn stat(&self, ino: u64) -> Result<v1::Attributes> {
        self.stat_telling(ino, None).await
    }

    /// What a client that writes the file itself asks.
    pub(crate) async fn stat_telling(
        &self,
        ino: u64,
        report: Option<v1::WriteReport>,
    ) -> Result<v1::Attributes> {
        let (header, volume) = (self.plain(), self.volume);
        let request = v1::GetAttrRequest { header, volume, ino, report };
        let reply = call(WAIT_MAX, self.mrc.clone().get_attr(request)).await?;
        Ok(reply.attributes.unwrap())
    }

    pub(crate) async fn resize(&self, ino: u64, size: u64) -> Result<v1::Attributes> {
        let request = v1::SetAttrRequest {
            header: self.numbered(),
            volume: self.volume,
            ino,
            size: Some(size),
            by_handle: true,
            ..Default::default()
        };
        let reply = call(WAIT_MAX, self.mrc.clone().set_attr(request)).await?;
        Ok(reply.attributes.unwrap())
    }

    pub(crate) async fn unlink(&self, name: &str) -> Result<()> {
        let (header, volume, name) = (self.numbered(), self.volume, name.to_owned().into());
        let request = v1::UnlinkRequest { header, volume, parent: 1, name };
        call(WAIT_MAX, self.mrc.clone().unlink(request)).await.map(drop)
    }

    pub(crate) async fn status(&self) -> v1::StatusReply {
        let request = v1::StatusRequest { header: self.plain() };
        call(WAIT_MAX, self.mrc.clone().status(request)).await.unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.die();
    }
}

/// Columns of an open file with the targets that hold them.
pub(crate) fn columns(volume: u64, opened: &v1::OpenReply) -> Vec<(TargetId, ColumnId)> {
    let layout = opened.layout.as_ref().unwrap();
    let column = |(index, set): (usize, &v1::ReplicaSet)| {
        let id = v1::ColumnId {
            volume,
            data: layout.data,
            index: u32::try_from(index).unwrap(),
            version: layout.version,
        };
        let target = TargetId::from_wire(&set.members[0].target).unwrap();
        (target, ColumnId::try_from(id).unwrap())
    };
    layout.sets.iter().enumerate().map(column).collect()
}

/// Waits until `check` holds.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + WAIT_MAX;
    while !check().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
