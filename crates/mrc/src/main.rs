//! `xtfs-mrc`: runs the service until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use xtfs_core::SystemClock;
use xtfs_mrc::{Config, PROGRAM};
use xtfs_rpc::daemon::{self, LogOptions};
use xtfs_rpc::{Address, DirAddresses, Failure, Listen, MRC_PORT, Ports, Server};

/// Metadata and replica catalog of xtfs: volumes, names, layouts, sessions.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Options {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR")]
    listen: Option<Listen>,
    /// Addresses of the DIR, with commas between them
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    dir: Option<DirAddresses>,
    /// Data directory; made if its parent exists
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Addresses that others are told, by default the one that reaches the DIR
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    advertise: Option<String>,
    /// Configuration file, by default /etc/xtfs/mrc.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
}

fn main() -> ExitCode {
    let options = match daemon::parse::<Options>(PROGRAM) {
        Ok(options) => options,
        Err(code) => return code,
    };
    daemon::run(PROGRAM, async |stop| run(options, stop).await)
}

async fn run(options: Options, stop: CancellationToken) -> Result<(), Failure> {
    daemon::start_logging(&options.log)?;
    let mut config: Config = daemon::load_config(PROGRAM, options.config.as_deref())?;
    let listen = match (options.listen, &config.listen) {
        (Some(listen), _) => listen,
        (None, Some(text)) => text.parse().map_err(|err| wrong(&err))?,
        (None, None) => Listen::ANY,
    };
    config.dir = options.dir.or(config.dir);
    config.data = options.data.or(config.data);
    if let Some(text) = &options.advertise {
        config.advertise = Address::parse_list(text, MRC_PORT).map_err(|err| wrong(&err))?;
    }
    let listener = listen.bind(Ports::Fixed(MRC_PORT)).await?;
    let port = listener.local_addr().map_err(|err| wrong(&err))?.port();
    let server = Server::new(PROGRAM);
    let serving = tokio::spawn(server.clone().serve(listener, stop.clone()));
    let running = xtfs_mrc::start(config, Arc::new(SystemClock), &server, port, &stop).await?;
    daemon::ready();
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failure = running.failed() => Some(failure),
    };
    stop.cancel();
    let stopped = running.stop().await;
    if let Err(err) = serving.await {
        tracing::warn!(%err, "the server did not end in order");
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(stopped?),
    }
}

fn wrong(err: &dyn std::fmt::Display) -> Failure {
    Failure::new(err.to_string(), "correct the option or the configuration file")
}
