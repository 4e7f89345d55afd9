//! `xtfs up` and `xtfs down`: DIR, MRC and OSDs in one process on one port.

mod instance;
mod services;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use xtfs_rpc::daemon::LogOptions;
use xtfs_rpc::{Address, Failure, daemon};

use crate::outcome;
use instance::Instance;

const PROGRAM: &str = "xtfs up";

/// Longest time from start to the first request.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest time that everything takes to reach the disks.
const STOP_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  xtfs up --data /srv/xtfs\n  \
    xtfs up --data /srv/xtfs --osds 8 --listen 0.0.0.0:32600")]
pub(crate) struct Up {
    /// Folder for everything; made if its parent exists
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many OSDs
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    osds: u16,
    /// Address that everything is served at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:32600")]
    listen: Address,
    /// Stay in the foreground, and log to stderr
    #[arg(long)]
    foreground: bool,
    #[command(flatten)]
    log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Folder that was given to `xtfs up`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(crate) fn up(up: &Up) -> ExitCode {
    if up.foreground {
        let up = up.clone();
        return daemon::run(PROGRAM, async |stop| {
            daemon::start_logging(&up.log)?;
            let instance = Instance::claim(&up.data)?;
            services::run(&up, &instance, stop).await
        });
    }
    outcome::run(PROGRAM, None, async {
        instance::start_in_background(up).await?;
        print_next_steps(up);
        Ok(outcome::DONE)
    })
}

pub(crate) fn down(down: &Down) -> ExitCode {
    outcome::run("xtfs down", None, async {
        instance::stop(&down.data).await?;
        println!("stopped; the data stays in {}", down.data.display());
        Ok(outcome::DONE)
    })
}

/// An address that a client of this host can use.
fn reachable(listen: &Address) -> Address {
    match listen.host() {
        "0.0.0.0" => Address::new("127.0.0.1", listen.port()),
        "::" => Address::new("::1", listen.port()),
        _ => listen.clone(),
    }
}

fn print_next_steps(up: &Up) {
    let (at, data) = (reachable(&up.listen), up.data.display());
    println!("DIR, MRC and {} OSDs serve at {}", up.osds, up.listen);
    println!("make a volume:  mkfs.xtfs {at}/demo --stripe-width {}", up.osds);
    println!("mount it:       mount.xtfs {at}/demo /mnt");
    println!("look at it:     xtfs status --dir {at}     http://{at}/");
    println!("stop:           xtfs down --data {data}");
}

/// For messages that name the log.
fn see_log(log: &std::path::Path) -> Failure {
    Failure::new("the services did not start", format!("see {}", log.display()))
}
