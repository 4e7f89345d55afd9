//! `rmfs.xtfs`: removes a volume and its data.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xtfs_client::Admin;
use xtfs_rpc::{Failure, daemon};

use crate::address::VolumeAddress;
use crate::outcome;

const PROGRAM: &str = "rmfs.xtfs";

/// Remove a volume, and its data from the OSDs
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = "Example:\n  rmfs.xtfs meta1/scratch --force")]
struct Cli {
    /// Address of the DIR, and the name of the volume: HOST[:PORT][,HOST2…]/NAME
    #[arg(value_name = "DIRADDR/VOLUME")]
    volume: VolumeAddress,
    /// Also if it holds files
    #[arg(short, long)]
    force: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(crate) fn command() -> clap::Command {
    daemon::command::<Cli>("xtfs-rmfs")
}

pub fn main() -> ExitCode {
    match daemon::parse::<Cli>("xtfs-rmfs") {
        Ok(cli) => outcome::run(PROGRAM, Some(cli.timeout), remove(&cli)),
        Err(code) => code,
    }
}

async fn remove(cli: &Cli) -> Result<u8, Failure> {
    let name = &cli.volume.volume;
    let admin = Admin::connect(&cli.volume.dirs, cli.timeout).await?;
    let volume = admin.volume(name).await?;
    if volume.files > 0 && !cli.force {
        let text = format!("volume {name} holds {} files", volume.files);
        return Err(Failure::new(text, "use --force to remove them for good"));
    }
    admin.delete_volume(name, cli.force).await?;
    println!("volume {name} is removed; its space comes back while the OSDs delete");
    Ok(outcome::DONE)
}
