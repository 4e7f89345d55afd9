//! `cargo xtask campaign NAME`: the same code as the tests, at length.

use anyhow::Result;
use clap::{Args, ValueEnum};
use xtfs_testkit::campaign::suites::Disturbance;
use xtfs_testkit::campaign::{entries, kills, power_cuts, suites};

#[derive(Debug, Args)]
pub(crate) struct Campaign {
    name: Name,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills of each service, power cuts, entries, or operations of fsx and the exerciser
    #[arg(long)]
    count: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// kill -9 of DIR, MRC and OSDs under load
    Kills,
    /// Power cuts of the whole cluster under load
    PowerCuts,
    /// A directory of a million entries, listed while they change
    Entries,
    /// Debian's kernel source: unpack, compare, compile a part
    Kernel,
    /// The crates.io fsx on a striped file
    Fsx,
    /// The crates.io pjdfstest
    Pjdfstest,
    /// Random operations on three mounts beside a model
    Exerciser,
    /// The same while services are killed
    ExerciserKills,
}

pub(crate) fn run(campaign: &Campaign) -> Result<()> {
    let seed = campaign.seed;
    match campaign.name {
        Name::Kills => {
            for victim in [kills::Victim::Mrc, kills::Victim::Osd, kills::Victim::Dir] {
                let plan = kills::Plan { victim, kills: campaign.count.unwrap_or(50), seed };
                println!("{victim:?}: {}", kills::run(plan));
            }
        }
        Name::PowerCuts => {
            let plan = power_cuts::Plan { cuts: campaign.count.unwrap_or(20), seed };
            println!("{}", power_cuts::run_plan(plan));
        }
        Name::Entries => {
            let plan = entries::Plan { entries: campaign.count.unwrap_or(1_000_000).into(), seed };
            println!("{}", entries::run(plan));
        }
        Name::Kernel => suites::kernel_tree(),
        Name::Fsx => suites::fsx(campaign.count.unwrap_or(1_000_000).into(), seed),
        Name::Pjdfstest => println!("{}", suites::pjdfstest()),
        Name::Exerciser | Name::ExerciserKills => {
            let disturbance = match campaign.name {
                Name::ExerciserKills => Disturbance::Kills,
                _ => Disturbance::None,
            };
            suites::exerciser(campaign.count.unwrap_or(1_000_000).into(), seed, disturbance);
        }
    }
    println!("done");
    Ok(())
}
