//! `cargo xtask campaign NAME`: the same code as the tests, at length.

use anyhow::Result;
use clap::{Args, ValueEnum};
use xtfs_testkit::campaign::suites::Disturbance;
use xtfs_testkit::campaign::{dbench, kills, power_cuts, stress, suites};

#[derive(Debug, Args)]
pub(crate) struct Campaign {
    name: Name,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills of each service, power cuts, or operations of fsx and the exerciser
    #[arg(long)]
    count: Option<u32>,
    /// How long each stressor, or dbench, runs
    #[arg(long)]
    seconds: Option<u32>,
    /// Stressors of stress-ng; all of its file system class if none is named
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// In the middle of stress (of each stressor), dbench, fsx or pjdfstest, kill -9 and restart an OSD and the MRC
    #[arg(long)]
    kill: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// kill -9 of DIR, MRC and OSDs under load
    Kills,
    /// Power cuts of the whole cluster under load
    PowerCuts,
    /// Debian's kernel source: unpack, compare, compile a part
    Kernel,
    /// The crates.io fsx on a striped file
    Fsx,
    /// The crates.io pjdfstest
    Pjdfstest,
    /// Debian's stress-ng, its file system class, here and on ext4
    Stress,
    /// Debian's dbench with 8 clients, here and on ext4
    Dbench,
    /// Random operations on three mounts beside a model
    Exerciser,
    /// The same while services are killed
    ExerciserKills,
}

pub(crate) fn run(campaign: &Campaign) -> Result<()> {
    let seed = campaign.seed;
    let disturbance = if campaign.kill { Disturbance::Kills } else { Disturbance::None };
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
        Name::Kernel => suites::kernel_tree(),
        Name::Fsx => suites::fsx(campaign.count.unwrap_or(1_000_000).into(), seed, disturbance),
        Name::Pjdfstest => println!("{}", suites::pjdfstest(disturbance)),
        Name::Stress => {
            let seconds = campaign.seconds.unwrap_or(30);
            stress::run_plan(&stress::Plan {
                only: campaign.only.clone(),
                seconds,
                seed,
                disturbance,
            });
        }
        Name::Dbench => {
            let seconds = campaign.seconds.unwrap_or(60);
            println!("{}", dbench::run_plan(dbench::Plan { seconds, clients: 8, disturbance }));
        }
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
