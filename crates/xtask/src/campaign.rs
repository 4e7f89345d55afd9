//! `cargo xtask campaign NAME`: the same code as the tests, at length.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::campaign::{
    beside_model, coherence, counters, dbench, entries, kills, linear, power_cuts, stress, suites,
};
use xtfs_testkit::linear::Mix;

#[derive(Debug, Args)]
pub(crate) struct Campaign {
    name: Name,
    /// Where the random choices start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills of each service, power cuts, entries, increments of counters, rounds of looks,
    /// histories, or operations of the others
    #[arg(long)]
    count: Option<u32>,
    /// Of the volume that fsx runs on
    #[arg(long, default_value = "128k")]
    stripe_size: String,
    /// Of the volume that fsx runs on
    #[arg(long, default_value_t = 4)]
    stripe_width: u16,
    /// How long each stressor, dbench, or each crowd, runs
    #[arg(long)]
    seconds: Option<u32>,
    /// Stressors of stress-ng; all of its file system class if none is named. For linear: names, to leave all files empty
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// kill -9 and restart an OSD and the MRC: in the middle of stress (of each stressor), dbench, fsx and pjdfstest;
    /// after about so many requests, again and again, under kernel, exerciser, turns, locks, counters, coherence and
    /// crowd; an OSD, the MRC or a client after about so many of the 500 calls of each history of linear
    #[arg(long, value_name = "REQUESTS", num_args = 0..=1, default_missing_value = "2000")]
    kill: Option<u64>,
    /// Of each mount of linear
    #[arg(long, default_value_t = 3)]
    threads: u32,
    /// Of the mounts of linear
    #[arg(long = "mount-option", value_name = "OPTION")]
    mount_options: Vec<String>,
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
    /// Debian's stress-ng, its file system class, here and on ext4
    Stress,
    /// Debian's dbench with 8 clients, here and on ext4
    Dbench,
    /// Random operations on three mounts beside a model
    Exerciser,
    /// Three mounts taking turns on one file under locks of each kind, beside a model
    Turns,
    /// Random locks of processes on three mounts beside a model
    Locks,
    /// Increments on two mounts under locks of each kind
    Counters,
    /// Changes on one mount, looks from the others: on two mounts and on three
    Coherence,
    /// Histories of calls on three mounts at once, and whether each could be of one file system
    Linear,
    /// One, two, four and eight mounts at work in one directory
    Crowd,
}

pub(crate) fn run(campaign: &Campaign) -> Result<()> {
    let seed = campaign.seed;
    let disturbance = campaign.kill.map_or(Disturbance::None, Disturbance::Every);
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
        Name::Kernel => suites::kernel_tree(seed, disturbance),
        Name::Fsx => {
            let striped =
                suites::Striped::with_layout(&campaign.stripe_size, campaign.stripe_width);
            suites::fsx(striped, campaign.count.unwrap_or(1_000_000).into(), seed, disturbance);
        }
        Name::Pjdfstest => println!("{}", suites::pjdfstest(disturbance)),
        Name::Stress => {
            let only = campaign.only.clone();
            let seconds = campaign.seconds.unwrap_or(30);
            stress::run_plan(&stress::Plan { only, seconds, seed, disturbance });
        }
        Name::Dbench => {
            let seconds = campaign.seconds.unwrap_or(60);
            println!("{}", dbench::run_plan(dbench::Plan { seconds, clients: 8, disturbance }));
        }
        Name::Exerciser => {
            let operations = campaign.count.unwrap_or(1_000_000).into();
            beside_model::exerciser(operations, seed, disturbance);
        }
        Name::Turns => {
            beside_model::turns(campaign.count.unwrap_or(100_000).into(), seed, disturbance);
        }
        Name::Locks => {
            beside_model::locks(campaign.count.unwrap_or(100_000).into(), seed, disturbance);
        }
        Name::Counters => {
            let increments = campaign.count.unwrap_or(10_000);
            counters::run(counters::Plan { increments, processes_per_mount: 2, disturbance, seed });
        }
        Name::Coherence => {
            for mounts in [2, 3] {
                let rounds = campaign.count.unwrap_or(10_000).into();
                coherence::rounds(coherence::Rounds { mounts, rounds, seed, disturbance });
            }
        }
        Name::Linear => histories(campaign)?,
        Name::Crowd => crowds(campaign, disturbance),
    }
    println!("done");
    Ok(())
}

fn histories(campaign: &Campaign) -> Result<()> {
    let mix = match campaign.only.as_slice() {
        [] => Mix::All,
        [name] => Mix::named(name).context("--only names, or nothing")?,
        _ => bail!("--only names, or nothing"),
    };
    let plan = linear::Plan {
        histories: campaign.count.unwrap_or(2000),
        seed: campaign.seed,
        calls: 500,
        threads: campaign.threads,
        mix,
        kill: campaign.kill,
        options: campaign.mount_options.clone(),
    };
    let figures = linear::run(&plan);
    println!("{figures}");
    ensure!(
        figures.rejected.is_empty(),
        "{} histories are of no file system",
        figures.rejected.len()
    );
    Ok(())
}

fn crowds(campaign: &Campaign, disturbance: Disturbance) {
    let time = Duration::from_secs(campaign.seconds.unwrap_or(600).into());
    for clients in [1, 2, 4, 8] {
        let operations_each = campaign.count.unwrap_or(0).into();
        let seed = campaign.seed;
        let plan = coherence::Crowd { clients, operations_each, time, seed, disturbance };
        println!("{}", coherence::crowd(plan));
    }
}
