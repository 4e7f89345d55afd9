//! DIR: which services exist, where, how full, how healthy; which volume lives on which MRC group.

mod config;
mod dir;
mod liveness;
mod machine;
mod options;
mod rows;
mod service;
mod status;
mod watch;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::{Clock, ClusterId, SystemClock};
use xtfs_proto::v1::dir_server::DirServer;
use xtfs_rpc::{Failure, Server};

pub use config::Config;
pub use dir::Dir;
pub use options::{Options, PROGRAM};

impl Dir {
    /// Serves on `server` from now on. Its streams end with `stop`.
    pub async fn add_to(self: &Arc<Self>, server: &Server, stop: &CancellationToken) {
        let streams = TaskTracker::new();
        let service = service::Service { dir: Arc::clone(self), stop: stop.clone(), streams };
        status::show(self, server);
        server.add(DirServer::new(service)).await;
    }
}

/// A DIR that serves on a port of its own.
#[derive(Debug)]
pub struct Running {
    pub cluster: ClusterId,
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until it has stopped, after its token was cancelled.
    pub async fn stopped(self) -> Result<(), Failure> {
        let panicked = |err| Failure::new(format!("the DIR has panicked: {err}"), "report this");
        self.task.await.map_err(panicked)
    }
}

/// Opens the DIR and serves it on `listener` until `stop`.
pub async fn start(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<Running, Failure> {
    start_with_clock(config, listener, Arc::new(SystemClock), stop).await
}

/// With a clock of the caller's.
pub async fn start_with_clock(
    config: Config,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<Running, Failure> {
    let no_port = |err| Failure::new(format!("the listening port is gone: {err}"), "start again");
    let address = listener.local_addr().map_err(no_port)?;
    let dir = Dir::open(config, clock).await?;
    let server = Server::new("xtfs-dir", &[]);
    dir.add_to(&server, &stop).await;
    let cluster = dir.cluster();
    tracing::info!(%address, %cluster, "serving");
    let task = tokio::spawn(async move {
        let serving = server.clone().serve(listener, stop.clone());
        // The log is closed when nobody is served any more.
        let closed = CancellationToken::new();
        let background = dir.run(closed.clone());
        let serving = async {
            serving.await;
            closed.cancel();
        };
        tokio::join!(serving, background);
    });
    Ok(Running { cluster, address, task })
}
