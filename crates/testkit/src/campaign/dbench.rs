//! Debian's dbench, the load of a file server, on xtfs and on an ext4 beside it.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::disturbance::Disturbance;
use super::disturbed::{run_alone, run_disturbed};
use super::local::Ext4;
use super::suites::Striped;
use crate::Ran;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seconds: u32,
    pub clients: u32,
    pub disturbance: Disturbance,
}

/// What dbench says at its end.
#[derive(Clone, Debug)]
pub struct Figures {
    pub xtfs: String,
    pub ext4: String,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xtfs: {}\next4: {}", self.xtfs, self.ext4)
    }
}

/// Panics if it fails on either.
pub fn run_plan(plan: Plan) -> Figures {
    println!("{plan:?}");
    let ext4 = Ext4::new();
    let mut striped = Striped::start();
    let on_ext4 = throughput(&run_alone(plan.command(&ext4.path())));
    let command = plan.command(striped.mount.path());
    let half = Duration::from_secs(plan.seconds.into()) / 2;
    let start = Instant::now();
    let ran =
        run_disturbed(command, &mut striped.cluster, plan.disturbance, |_| start.elapsed() >= half);
    let on_xtfs = throughput(&ran);
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
    Figures { xtfs: on_xtfs, ext4: on_ext4 }
}

impl Plan {
    fn command(self, folder: &Path) -> Command {
        let mut command = Command::new("dbench");
        command.arg("-D").arg(folder).args(["-t", &self.seconds.to_string()]);
        command.arg(self.clients.to_string());
        command
    }
}

/// Its last line, `Throughput … MB/sec …`. It tells of an operation with an unexpected result as `[LINE] …`, and may go
/// on after that.
#[track_caller]
fn throughput(ran: &Ran) -> String {
    let last = ran.stdout.lines().rfind(|line| line.starts_with("Throughput"));
    let unexpected = ran.stdout.lines().any(|line| line.starts_with('['));
    match last {
        Some(last) if ran.code == 0 && !unexpected => last.to_owned(),
        _ => panic!("dbench: exit code {}\n{}", ran.code, ran.stdout),
    }
}
