//! `xtfs-mrc`: runs the service until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use xtfs_core::SystemClock;
use xtfs_mrc::{Config, Options, PROGRAM};
use xtfs_rpc::daemon;
use xtfs_rpc::{Address, Failure, Listen, MRC_PORT, Ports, Server};

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
    let server = Server::new(PROGRAM, &[xtfs_mrc::SERVICE]);
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
