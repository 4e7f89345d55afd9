//! The services of one process: all on one server.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use xtfs_core::SystemClock;
use xtfs_rpc::{Connector, DirAddresses, Directory, Failure, Listen, Ports, Server};

use super::instance::Instance;
use super::{Up, reachable};

/// Serves until `stop`. What serves others stops last.
pub(super) async fn run(
    up: &Up,
    instance: &Instance,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let listen: Listen =
        up.listen.to_string().parse().map_err(|err| {
            Failure::new(format!("--listen {}: {err}", up.listen), "give HOST:PORT")
        })?;
    let listener = listen.bind(Ports::Fixed(up.listen.port())).await?;
    let port = up.listen.port();
    let server = Server::new("xtfs", &[xtfs_mrc::SERVICE, xtfs_osd::SERVICE]);
    let serving = CancellationToken::new();
    let _ends_serving = serving.clone().drop_guard();

    let dir_config = xtfs_dir::Config { data: Some(up.data.join("dir")), ..Default::default() };
    let dir = xtfs_dir::Dir::open(dir_config, Arc::new(SystemClock)).await?;
    dir.add_to(&server, &serving).await;
    let dir_stop = CancellationToken::new();
    let dir_task = tokio::spawn({
        let (dir, stop) = (Arc::clone(&dir), dir_stop.clone());
        async move { dir.run(stop).await }
    });
    let server_task = tokio::spawn(server.clone().serve(listener, serving.clone()));

    let at = reachable(&up.listen);
    let dirs = DirAddresses::new(at);
    let mrc = xtfs_mrc::start(mrc_config(up, &dirs), Arc::new(SystemClock), &server, port, &stop);
    let mrc = mrc.await?;
    let directory = Directory::new(Connector::new(), &dirs);
    let clock = Arc::new(SystemClock);
    let osd = xtfs_osd::start(osd_config(up, &dirs), directory, &server, port, clock, &stop);
    let osd = osd.await?;
    instance.ready(&up.listen)?;
    xtfs_rpc::daemon::ready();

    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failure = mrc.failed() => Some(failure),
        failure = osd.refused() => Some(failure),
    };
    osd.close().await;
    if let Err(err) = mrc.stop().await {
        tracing::error!("close the log of the MRC: {err}");
    }
    serving.cancel();
    dir_stop.cancel();
    for task in [server_task, dir_task] {
        if let Err(err) = task.await {
            tracing::error!("a service ended badly: {err}");
        }
    }
    failed.map_or(Ok(()), Err)
}

fn mrc_config(up: &Up, dirs: &DirAddresses) -> xtfs_mrc::Config {
    xtfs_mrc::Config {
        dir: Some(dirs.clone()),
        data: Some(up.data.join("mrc")),
        ..Default::default()
    }
}

fn osd_config(up: &Up, dirs: &DirAddresses) -> xtfs_osd::Config {
    let data: Vec<PathBuf> = (1..=up.osds).map(|n| up.data.join(format!("osd{n}"))).collect();
    xtfs_osd::Config { dir: Some(dirs.clone()), data, ..Default::default() }
}
