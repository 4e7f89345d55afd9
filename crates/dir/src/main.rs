//! `xtfs-dir`, the directory service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use xtfs_dir::Config;
use xtfs_rpc::daemon::{self, LogOptions};
use xtfs_rpc::{DIR_PORT, Failure, Ports};

const PROGRAM: &str = "xtfs-dir";

const EXAMPLES: &str = "Examples:
  xtfs-dir --data /var/lib/xtfs/dir
  xtfs-dir --listen 10.0.0.1:32600 --data /srv/dir --advertise meta1.example.org

Every option can stand in the environment as XTFS_DIR_<OPTION>, as XTFS_DIR_DATA,
and in /etc/xtfs/dir.toml. Its status page is at http://HOST:32600/.";

/// Directory service of xtfs: knows every service and volume of a cluster
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
struct Options {
    /// Address to listen on [default: port 32600 on every address]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Data directory; made if its parent exists
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Addresses that others reach it at, with commas between them [default: where they did]
    #[arg(long, value_name = "ADDR,…")]
    advertise: Option<String>,
    /// Configuration file [default: /etc/xtfs/dir.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
}

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
