//! `xtfsutil`: what XtreemFS users know, for a path on a mount.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xtfs_core::StripeLayout;
use xtfs_core::units::Bytes;
use xtfs_rpc::{Failure, daemon};

use crate::mounted::{MountedFile, absolute};
use crate::{outcome, where_file};

const PROGRAM: &str = "xtfsutil";

/// Show or change what a file or directory on a mounted volume is like
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    after_help = "Examples:\n  \
        xtfsutil /mnt/scratch/file\n  \
        xtfsutil /mnt/scratch/results --set-dsp -p RAID0 -w 4 -s 128"
)]
struct Cli {
    path: PathBuf,
    /// Set the default striping policy of a directory: what its new files get
    #[arg(long, requires = "width", requires = "size")]
    set_dsp: bool,
    /// Policy: RAID0
    #[arg(short, long, default_value = "RAID0", value_parser = ["RAID0"])]
    policy: String,
    /// OSDs that a file is striped over
    #[arg(short, long, value_name = "N")]
    width: Option<u64>,
    /// Stripe size in KiB
    #[arg(short, long, value_name = "KIB")]
    size: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(crate) fn command() -> clap::Command {
    daemon::command::<Cli>("xtfs-util")
}

pub fn main() -> ExitCode {
    match daemon::parse::<Cli>("xtfs-util") {
        Ok(cli) => outcome::run(PROGRAM, Some(cli.timeout), run(&cli)),
        Err(code) => code,
    }
}

async fn run(cli: &Cli) -> Result<u8, Failure> {
    match (cli.set_dsp, cli.width, cli.size) {
        (true, Some(width), Some(kib)) => set_default_layout(cli, width, kib).await,
        _ => where_file::run(&cli.path, cli.timeout, cli.json).await,
    }
}

async fn set_default_layout(cli: &Cli, width: u64, kib: u64) -> Result<u8, Failure> {
    let layout = StripeLayout::new(kib.saturating_mul(1024), width)
        .map_err(|err| Failure::new(err.to_string(), "see xtfsutil --help"))?;
    let file = MountedFile::find(&cli.path, cli.timeout).await?;
    if !file.is_dir {
        let text = format!("{} is not a directory", cli.path.display());
        return Err(Failure::new(text, "only directories have a default for new files"));
    }
    file.admin.set_default_layout(&file.volume, file.ino, layout).await?;
    let size = Bytes(layout.stripe_size());
    println!("new files in {}: stripes of {size} over {width} OSDs", absolute(&cli.path).display());
    Ok(outcome::DONE)
}
