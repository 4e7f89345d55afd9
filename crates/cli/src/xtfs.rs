//! `xtfs`: start and stop everything, look at everything, check everything.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use xtfs_client::Admin;
use xtfs_rpc::{DirAddresses, Failure, daemon};

use crate::{fsck, mrc, osd, outcome, status, up, volume, where_file};

const PROGRAM: &str = "xtfs";
/// `xtfs status` where no DIR answered.
const NO_DIR: u8 = 3;

/// Run and look after a cluster of xtfs
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    after_help = "Examples:\n  \
        xtfs up --data /srv/xtfs\n  \
        xtfs status --dir meta1\n  \
        xtfs where /mnt/scratch/file"
)]
struct Cli {
    /// Address of the DIR: HOST[:PORT][,HOST2…]
    #[arg(long, global = true, value_name = "ADDR", default_value = "127.0.0.1")]
    dir: DirAddresses,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Longest time to wait for one answer
    #[arg(long, global = true, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start DIR, MRC and OSDs in one process on one port
    Up(up::Up),
    /// Stop what `xtfs up` started
    Down(up::Down),
    /// Say whether all is well, and what to do if not
    #[command(after_help = "Exit code: 0 ok, 1 warning, 2 critical, 3 no DIR answered.")]
    Status,
    /// Storage targets
    #[command(subcommand)]
    Osd(osd::Command),
    /// Metadata servers
    #[command(subcommand)]
    Mrc(mrc::Command),
    /// Volumes and their policies
    #[command(subcommand)]
    Volume(volume::Command),
    /// Show on which OSDs a file lies
    Where { file: PathBuf },
    /// Check a volume against its OSDs
    Fsck(fsck::Fsck),
}

pub(crate) fn command() -> clap::Command {
    daemon::command::<Cli>(PROGRAM)
}

pub fn main() -> ExitCode {
    let cli = match daemon::parse::<Cli>(PROGRAM) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let timeout = Some(cli.timeout);
    match &cli.command {
        Command::Up(up) => up::up(up),
        Command::Down(down) => up::down(down),
        Command::Where { file } => {
            outcome::run(PROGRAM, timeout, where_file::run(file, cli.timeout, cli.json))
        }
        // Takes as long as the volume is large; each of its requests has the deadline.
        Command::Fsck(fsck) => outcome::run_or(fsck::UNFINISHED, "xtfs fsck", None, async {
            let admin = connect(&cli).await?;
            fsck::run(fsck, &admin, cli.json).await
        }),
        Command::Status => outcome::run_or(NO_DIR, PROGRAM, timeout, async {
            status::run(&connect(&cli).await?, cli.json).await
        }),
        Command::Osd(command) => {
            with_admin(&cli, async |admin| osd::run(command, admin, cli.json).await)
        }
        Command::Mrc(command) => {
            with_admin(&cli, async |admin| mrc::run(command, admin, cli.json).await)
        }
        Command::Volume(command) => {
            with_admin(&cli, async |admin| volume::run(command, admin, cli.json).await)
        }
    }
}

fn with_admin(cli: &Cli, act: impl AsyncFnOnce(&Admin) -> Result<u8, Failure>) -> ExitCode {
    outcome::run(PROGRAM, Some(cli.timeout), async { act(&connect(cli).await?).await })
}

async fn connect(cli: &Cli) -> Result<Admin, Failure> {
    let connected = Admin::connect(&cli.dir, cli.timeout).await;
    connected.map_err(|err| {
        Failure::new(err.to_string(), "is xtfs-dir running, and is --dir its address?")
    })
}
