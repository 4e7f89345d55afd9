//! Command line of `xtfs-mrc`.

use std::path::PathBuf;

use clap::Parser;
use xtfs_rpc::daemon::LogOptions;
use xtfs_rpc::{DirAddresses, Listen};

use crate::PROGRAM;

const EXAMPLES: &str = "Examples:
  xtfs-mrc --dir meta1 --data /var/lib/xtfs/mrc
  xtfs-mrc --dir meta1,meta2 --data /srv/mrc --listen 10.0.0.1:32601

Every option can stand in the environment as XTFS_MRC_<OPTION>, as XTFS_MRC_DATA,
and in /etc/xtfs/mrc.toml. Its status page is at http://HOST:32601/.";

/// Metadata and replica catalog of xtfs: volumes, names, layouts, sessions.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Options {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<Listen>,
    /// Addresses of the DIR, with commas between them
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    pub dir: Option<DirAddresses>,
    /// Data directory; made if its parent exists
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Addresses that others are told, by default the one that reaches the DIR
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    pub advertise: Option<String>,
    /// Configuration file, by default /etc/xtfs/mrc.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogOptions,
}
