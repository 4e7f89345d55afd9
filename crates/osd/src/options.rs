//! The command line of `xtfs-osd`.

use std::path::PathBuf;

use clap::Parser;
use xtfs_core::units::Bytes;
use xtfs_rpc::daemon::{LogOptions, load_config};
use xtfs_rpc::{DirAddresses, Failure, Listen};

use crate::config::Config;

pub const PROGRAM: &str = "xtfs-osd";

const EXAMPLES: &str = "\
Examples:
  xtfs-osd --dir meta1 --data /disk1
      Adds the disk of /disk1 to the cluster of meta1: every volume grows.
  xtfs-osd --dir meta1,meta2 --data /disk1/xtfs --data /disk2/xtfs --zone rack7 --label disk=ssd
      One daemon, two disks, each a storage target of its own.
  xtfs-osd --dir 127.0.0.1 --data /tmp/osd1 --capacity 20GiB
      A target that takes 20 GiB at most.

Settings also come from XTFS_OSD_<OPTION> in the environment, and from /etc/xtfs/osd.toml.";

/// Stores the columns of files on this node's disks and serves them
#[derive(Debug, Parser)]
#[command(name = "xtfs-osd", version, after_help = EXAMPLES)]
pub struct Options {
    /// Where to listen: HOST:PORT, HOST or :PORT [default: every address, first free port from 32602]
    #[arg(long, value_name = "ADDR")]
    listen: Option<Listen>,
    /// The DIR of the cluster, or several of its members
    #[arg(long, value_name = "ADDR[,ADDR...]")]
    dir: Option<DirAddresses>,
    /// A data directory; each is a storage target. Made if its parent exists
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    data: Vec<PathBuf>,
    /// Most that each target may hold, as 20GiB [default: what its disk holds]
    #[arg(long, value_name = "SIZE")]
    capacity: Option<Bytes>,
    /// Space left free on each disk [default: 1 %, at least 1 GiB, at most a quarter]
    #[arg(long, value_name = "SIZE")]
    reserve: Option<Bytes>,
    /// Where this node stands, as a rack or a site
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// A label for placement; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, value_delimiter = ',')]
    labels: Vec<(String, String)>,
    /// Addresses that others reach it at [default: the address that reaches the DIR]
    #[arg(long, value_name = "ADDR[,ADDR...]")]
    advertise: Option<String>,
    /// Configuration file [default: /etc/xtfs/osd.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogOptions,
}

impl Options {
    /// Options and environment over the file over defaults.
    pub fn configure(self) -> Result<(Config, Listen), Failure> {
        let mut config: Config = load_config(PROGRAM, self.config.as_deref())?;
        if self.dir.is_some() {
            config.dir = self.dir;
        }
        if !self.data.is_empty() {
            config.data = self.data;
        }
        config.capacity = self.capacity.or(config.capacity);
        config.reserve = self.reserve.or(config.reserve);
        if let Some(zone) = self.zone {
            config.zone = zone;
        }
        config.labels.extend(self.labels);
        let listen = match (self.listen, &config.listen) {
            (Some(listen), _) => listen,
            (None, Some(text)) => text.parse().map_err(|err| {
                Failure::new(format!("listen: {err}"), "correct it in the configuration file")
            })?,
            (None, None) => Listen::ANY,
        };
        if self.advertise.is_some() {
            config.advertise = self.advertise;
        }
        Ok((config, listen))
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
