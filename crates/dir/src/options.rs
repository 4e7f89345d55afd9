//! Command line of `xtfs-dir`.

use std::path::PathBuf;

use clap::Parser;
use xtfs_rpc::daemon::LogOptions;

pub const PROGRAM: &str = "xtfs-dir";

const EXAMPLES: &str = "Examples:
  xtfs-dir --data /var/lib/xtfs/dir
  xtfs-dir --listen 10.0.0.1:32600 --data /srv/dir --advertise meta1.example.org

Every option can stand in the environment as XTFS_DIR_<OPTION>, as XTFS_DIR_DATA,
and in /etc/xtfs/dir.toml. Its status page is at http://HOST:32600/.";

/// Directory service of xtfs: knows every service and volume of a cluster
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Options {
    /// Address to listen on [default: port 32600 on every address]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Data directory; made if its parent exists
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Addresses that others reach it at, with commas between them [default: where they did]
    #[arg(long, value_name = "ADDR,…")]
    pub advertise: Option<String>,
    /// Configuration file [default: /etc/xtfs/dir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogOptions,
}
