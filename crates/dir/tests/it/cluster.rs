//! A DIR in this process, and daemons that register at it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use xtfs_core::{Clock, ClusterId, ServiceId, SystemClock, TargetId, Timestamp};
use xtfs_dir::{Config, Running};
use xtfs_proto::v1;
use xtfs_rpc::registration::{Load, Registrant};
use xtfs_rpc::{Address, Connector, DirAddresses, Directory, Failure, Listen, Ports, ServiceList};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct TestDir {
    pub(crate) at: SocketAddr,
    pub(crate) cluster: ClusterId,
    running: Running,
    stop: CancellationToken,
}

pub(crate) fn config(data: &Path) -> Config {
    Config { data: Some(data.join("dir")), heartbeat_ms: 200, ..Config::default() }
}

impl TestDir {
    pub(crate) async fn start(root: &Path) -> Self {
        Self::start_at(root, Listen::loopback()).await.unwrap()
    }

    pub(crate) async fn start_at(root: &Path, listen: Listen) -> Result<Self, Failure> {
        let listener = listen.bind(Ports::Fixed(0)).await?;
        let stop = CancellationToken::new();
        let running = xtfs_dir::start(config(root), listener, stop.clone()).await?;
        Ok(TestDir { at: running.address, cluster: running.cluster, running, stop })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.stopped().await.unwrap();
    }

    pub(crate) fn address(&self) -> Address {
        self.at.into()
    }

    pub(crate) fn directory(&self) -> Directory {
        Directory::new(Connector::new(), &DirAddresses::new(self.address()))
    }

    pub(crate) async fn list(&self) -> ServiceList {
        self.directory().list(self.cluster, DEADLINE).await.unwrap()
    }
}

/// What a daemon says of itself; a test may change it.
#[derive(Clone, Default)]
pub(crate) struct Said(pub(crate) Arc<Mutex<Load>>);

impl Said {
    pub(crate) fn target(id: TargetId) -> Self {
        let target = v1::Target {
            id: id.to_wire().into(),
            path: "/disk1".into(),
            total_bytes: 1000,
            free_bytes: 900,
            used_bytes: 100,
            zone: "z1".into(),
            ..v1::Target::default()
        };
        Said(Arc::new(Mutex::new(Load { targets: vec![target], mrc: None })))
    }

    pub(crate) fn mrc(id: ServiceId) -> Self {
        let mrc = v1::MrcServer { id: id.to_wire().into(), leader: true, ..Default::default() };
        Said(Arc::new(Mutex::new(Load { targets: vec![], mrc: Some(mrc) })))
    }

    pub(crate) fn registrant(&self, port: u16) -> Registrant {
        let said = self.0.clone();
        Registrant {
            cluster: None,
            node: "node1".into(),
            advertise: Vec::new(),
            listen_port: port,
            clock: Arc::new(SystemClock),
            load: Arc::new(move || said.lock().unwrap().clone()),
        }
    }
}

/// A clock that is wrong by so many milliseconds.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0 * 1_000_000)
    }
}

/// Waits until `check` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let end = Instant::now() + DEADLINE;
    while !check().await {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
