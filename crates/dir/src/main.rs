//! `xtfs-dir`, the directory service.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use xtfs_dir::{Config, Options, PROGRAM};
use xtfs_rpc::daemon;
use xtfs_rpc::{DIR_PORT, Failure, Ports};

fn main() -> ExitCode {
    match daemon::parse::<Options>(PROGRAM) {
        Ok(options) => daemon::run(PROGRAM, async |stop| serve(options, stop).await),
        Err(code) => code,
    }
}

async fn serve(options: Options, stop: CancellationToken) -> Result<(), Failure> {
    daemon::start_logging(&options.log)?;
    let file: Config = daemon::load_config(PROGRAM, options.config.as_deref())?;
    let config = Config {
        listen: options.listen.or(file.listen),
        data: options.data.or(file.data),
        advertise: options.advertise.or(file.advertise),
        ..file
    };
    config.validate()?;
    let listener = config.listen()?.bind(Ports::Fixed(DIR_PORT)).await?;
    let running = xtfs_dir::start(config, listener, stop).await?;
    daemon::ready();
    running.stopped().await
}
