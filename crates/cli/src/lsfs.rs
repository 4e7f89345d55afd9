//! `lsfs.xtfs`: lists volumes.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xtfs_client::Admin;
use xtfs_rpc::{DirAddresses, daemon};

use crate::{outcome, volume};

const PROGRAM: &str = "lsfs.xtfs";

/// List the volumes of a cluster
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = "Example:\n  lsfs.xtfs meta1")]
struct Cli {
    /// Address of the DIR: HOST[:PORT][,HOST2…]
    #[arg(value_name = "DIRADDR")]
    dirs: DirAddresses,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(crate) fn command() -> clap::Command {
    daemon::command::<Cli>("xtfs-lsfs")
}

pub fn main() -> ExitCode {
    match daemon::parse::<Cli>("xtfs-lsfs") {
        Ok(cli) => outcome::run(PROGRAM, Some(cli.timeout), async {
            let admin = Admin::connect(&cli.dirs, cli.timeout).await?;
            volume::list(&admin, cli.json).await
        }),
        Err(code) => code,
    }
}
