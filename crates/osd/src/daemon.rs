//! Starts and stops an OSD: data directories, registration, service.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::capability::Key;
use xtfs_core::{Clock, ClusterId, Result as CoreResult, SystemClock, TargetId};
use xtfs_kv::{RocksKv, RocksOptions};
use xtfs_rpc::registration::{Registrant, Registration, find_cluster, node_name, register};
use xtfs_rpc::{Connector, DataDir, Directory, Failure, Role, Server};

use crate::budget::Budget;
use crate::capabilities::Capabilities;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::osd::Osd;
use crate::store::{Environment, Options, Store};
use crate::target::Target;
use crate::{maintenance, service, status};

/// Where a data directory keeps its records; the store has the rest.
const META: &str = "meta";
/// How long requests in flight may take to finish after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long the last sync may take.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// Name of the service, for [`Server::new`].
pub const SERVICE: &str = <service::Front as tonic::server::NamedService>::NAME;

/// Data directories that are open, and not served yet.
#[derive(Debug)]
pub struct Targets {
    config: Config,
    cluster: ClusterId,
    targets: Vec<Arc<Target>>,
}

/// An OSD that serves.
#[derive(Debug)]
pub struct Daemon {
    osd: Arc<Osd>,
    registration: Option<Registration>,
}

/// Runs an OSD until `stop`: the whole daemon.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let server = Server::new("xtfs-osd", &[SERVICE]);
    let port = listener.local_addr().map_err(|err| Failure::new(err.to_string(), ""))?.port();
    // Ends the server also where the start fails.
    let serving = stop.child_token();
    let _end = serving.clone().drop_guard();
    let serve = tokio::spawn(server.clone().serve(listener, serving));
    let directory = Directory::new(Connector::new(), config.dir()?);
    let daemon = start(config, directory, &server, port, Arc::new(SystemClock), &stop).await?;
    xtfs_rpc::daemon::ready();
    let refused = tokio::select! {
        () = stop.cancelled() => None,
        refused = daemon.refused() => Some(refused),
    };
    daemon.close().await;
    match refused {
        // Whoever is connected has nothing to wait for.
        Some(refused) => Err(refused),
        None => {
            // It has waited for its own requests; a panic in it has nothing left to harm.
            serve.await.unwrap_or_default();
            Ok(())
        }
    }
}

/// Opens the data directories, registers them at the DIR, and adds the service to `server`, whose
/// listener has `port`. For `xtfs up` and tests, which have a server of their own.
pub async fn start(
    config: Config,
    directory: Directory,
    server: &Server,
    port: u16,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Daemon, Failure> {
    config.validate()?;
    let dirs = open_dirs(&config, None)?;
    let own = dirs.iter().find_map(DataDir::cluster);
    let cluster = find_cluster(&directory, own, stop).await?;
    for dir in &dirs {
        dir.adopt(cluster)?;
    }
    let targets = open_stores(config, cluster, dirs).await?;
    let registrant = Registrant {
        cluster: Some(cluster),
        node: node_name(),
        advertise: targets.config.advertise(port)?,
        listen_port: port,
        clock: Arc::clone(&clock),
        load: targets.load(),
    };
    let registration = register(directory, registrant, stop).await?;
    let keys = registration.keys();
    let daemon = targets.serve(keys, server, clock, stop).await;
    Ok(Daemon { registration: Some(registration), ..daemon })
}

impl Targets {
    /// Opens the data directories for `cluster`, without a DIR.
    pub async fn open(config: Config, cluster: ClusterId) -> Result<Targets, Failure> {
        config.validate()?;
        let dirs = open_dirs(&config, Some(cluster))?;
        open_stores(config, cluster, dirs).await
    }

    pub fn ids(&self) -> Vec<TargetId> {
        self.targets.iter().map(|target| target.id).collect()
    }

    /// Adds the service to `server`. `keys` are those that capabilities are signed with.
    pub async fn serve(
        self,
        keys: watch::Receiver<Vec<Key>>,
        server: &Server,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Daemon {
        let targets: BTreeMap<_, _> =
            self.targets.iter().map(|target| (target.id, Arc::clone(target))).collect();
        let osd = Arc::new(Osd {
            cluster: self.cluster,
            targets,
            capabilities: Capabilities::new(keys),
            clock,
            metrics: Metrics::new(server.metrics()),
            tasks: TaskTracker::new(),
            stop: stop.child_token(),
        });
        maintenance::spawn(&osd);
        let shown = self.targets;
        server.section("Storage targets", move || status::table(&shown));
        server.add(service::service(Arc::clone(&osd))).await;
        Daemon { osd, registration: None }
    }

    fn load(&self) -> Arc<dyn Fn() -> xtfs_rpc::registration::Load + Send + Sync> {
        let (config, targets, node) = (self.config.clone(), self.targets.clone(), node_name());
        Arc::new(move || status::load(&node, &config, &targets))
    }
}

impl Daemon {
    pub fn targets(&self) -> Vec<TargetId> {
        self.osd.targets.keys().copied().collect()
    }

    /// Waits until the DIR refuses this daemon for good.
    pub async fn refused(&self) -> Failure {
        match &self.registration {
            Some(registration) => registration.refused().await,
            None => std::future::pending().await,
        }
    }

    /// Lets requests in flight finish for a bounded time, syncs everything, and tells the DIR.
    pub async fn close(self) {
        let Daemon { osd, registration } = self;
        osd.stop.cancel();
        osd.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, osd.tasks.wait()).await.is_err() {
            tracing::warn!("{} requests did not finish", osd.tasks.len());
        }
        let closing = osd.targets.values().filter(|target| target.store().is_ok()).map(|target| {
            let target = Arc::clone(target);
            tokio::spawn(async move {
                if let Err(err) = target.run_aside(|store| store.close()).await {
                    tracing::error!(target = %target.id, "sync before the end: {err}");
                }
            })
        });
        let closing = futures_util::future::join_all(closing.collect::<Vec<_>>());
        if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
            tracing::error!("a disk does not answer; leaving without its last sync");
        }
        if let Some(registration) = registration {
            registration.leave().await;
        }
    }
}

fn open_dirs(config: &Config, cluster: Option<ClusterId>) -> Result<Vec<DataDir>, Failure> {
    config.data.iter().map(|path| DataDir::open(path, Role::Osd, cluster)).collect()
}

/// A store that does not open is a fault of its target; the others serve. If none opens there is no
/// point in going on.
async fn open_stores(
    config: Config,
    cluster: ClusterId,
    dirs: Vec<DataDir>,
) -> Result<Targets, Failure> {
    let options = Options {
        reserve: config.reserve.map(|bytes| bytes.0),
        capacity: config.capacity.map(|bytes| bytes.0),
        ..Options::default()
    };
    // All at once: after a crash each has something to check.
    let opening: Vec<_> = dirs
        .into_iter()
        .map(|dir| {
            let options = options.clone();
            tokio::task::spawn_blocking(move || {
                let store = open_store(dir.path(), options);
                (dir, store)
            })
        })
        .collect();
    let (mut targets, mut faults) = (Vec::new(), Vec::new());
    let count = opening.len();
    for opened in opening {
        let panicked = |err| Failure::new(format!("opening a data directory failed: {err}"), "");
        let (dir, store) = opened.await.map_err(panicked)?;
        let store = store.map(Arc::new).map_err(|err| {
            let fault = format!("data directory {}: {err}", dir.path().display());
            tracing::error!("{fault}");
            faults.push(fault.clone());
            fault
        });
        targets.push(Arc::new(Target::new(dir, store, Budget::of_target(count))));
    }
    if faults.len() == count {
        let next = "the data was left as it is: repair the disk or restore the file named here";
        return Err(Failure::new(faults.join("; "), next));
    }
    Ok(Targets { config, cluster, targets })
}

fn open_store(dir: &Path, options: Options) -> CoreResult<Store> {
    let meta = RocksKv::open(&dir.join(META), RocksOptions::default())?;
    Store::open(dir, Arc::new(meta), options, &Environment::of(dir)?)
}
