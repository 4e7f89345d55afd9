//! `mkfs.xtfs`: makes a volume with its policies.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xtfs_client::{Admin, NewVolume, VolumeInfo};
use xtfs_core::StripeLayout;
use xtfs_core::units::Bytes;
use xtfs_rpc::{Failure, daemon};

use crate::address::VolumeAddress;
use crate::{outcome, users};

const PROGRAM: &str = "mkfs.xtfs";

/// Make a volume
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    after_help = "Examples:\n  \
        mkfs.xtfs meta1/home\n  \
        mkfs.xtfs meta1/scratch --stripe-size 1MiB --stripe-width 4 --mode 1777\n  \
        mkfs.xtfs meta1,meta2/scratch -o atime=noatime --if-not-exists"
)]
struct Cli {
    /// Address of the DIR, and the name of the new volume: HOST[:PORT][,HOST2…]/NAME
    #[arg(value_name = "DIRADDR/VOLUME")]
    volume: VolumeAddress,
    /// Bytes that go to one OSD before the next takes over: 4k to 64m, in multiples of 4k
    #[arg(short = 's', long, value_name = "SIZE", default_value = "128k")]
    stripe_size: Bytes,
    /// OSDs that a file is striped over
    #[arg(short = 'w', long, value_name = "N", default_value_t = 1)]
    stripe_width: u64,
    /// Permissions of the root directory, octal
    #[arg(short, long, default_value = "0777", value_parser = parse_mode)]
    mode: u32,
    /// Owner of the root directory, a name or a number
    #[arg(short = 'u', long = "owner", value_name = "USER", default_value = "0")]
    owner: String,
    /// Group of the root directory, a name or a number
    #[arg(short, long, default_value = "0")]
    group: String,
    /// A policy: chown_non_root=true|false, root_squash=true|false, atime=relatime|noatime|strictatime
    #[arg(short = 'o', value_name = "KEY=VALUE", value_delimiter = ',')]
    options: Vec<Setting>,
    /// Succeed if the volume exists; warn if its settings differ
    #[arg(long)]
    if_not_exists: bool,
    /// Longest time to wait
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// `KEY=VALUE`.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub key: String,
    pub value: String,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        Ok(Setting { key: key.to_owned(), value: value.to_owned() })
    }
}

/// For the manual and completions.
pub(crate) fn command() -> clap::Command {
    daemon::command::<Cli>("xtfs-mkfs")
}

pub fn main() -> ExitCode {
    match daemon::parse::<Cli>("xtfs-mkfs") {
        Ok(cli) => outcome::run(PROGRAM, Some(cli.timeout), make(&cli)),
        Err(code) => code,
    }
}

async fn make(cli: &Cli) -> Result<u8, Failure> {
    let wanted = wanted(cli)?;
    let admin = Admin::connect(&cli.volume.dirs, cli.timeout).await?;
    let exists = admin.services().await?.volume(&wanted.name).is_some();
    let volume = match exists {
        true if !cli.if_not_exists => {
            let text = format!("volume {} exists already", wanted.name);
            return Err(Failure::new(text, "choose another name, or use --if-not-exists"));
        }
        true => {
            let there = admin.volume(&wanted.name).await?;
            for difference in differences(&wanted, &there) {
                eprintln!("{PROGRAM}: warning: volume {} differs: {difference}", there.name);
            }
            there
        }
        false => admin.create_volume(&wanted).await?,
    };
    let layout = volume.layout;
    let size = Bytes(layout.stripe_size());
    println!("volume {}: stripes of {size} over {} OSDs", volume.name, layout.stripe_width());
    Ok(outcome::DONE)
}

fn wanted(cli: &Cli) -> Result<NewVolume, Failure> {
    let layout = StripeLayout::new(cli.stripe_size.0, cli.stripe_width)
        .map_err(|err| Failure::new(err.to_string(), "see mkfs.xtfs --help"))?;
    Ok(NewVolume {
        name: cli.volume.volume.clone(),
        layout,
        mode: cli.mode,
        uid: users::uid(&cli.owner)?,
        gid: users::gid(&cli.group)?,
        settings: settings(&cli.options),
    })
}

pub(crate) fn settings(options: &[Setting]) -> BTreeMap<String, String> {
    options.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
}

/// What of `wanted` the volume that exists does not have. Both are shown.
fn differences(wanted: &NewVolume, there: &VolumeInfo) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: String, there: String| {
        if wanted != there {
            found.push(format!("{what} is {there}, not {wanted}"));
        }
    };
    let size = |layout: StripeLayout| Bytes(layout.stripe_size()).to_string();
    compare("stripe size", size(wanted.layout), size(there.layout));
    let width = |layout: StripeLayout| layout.stripe_width().to_string();
    compare("stripe width", width(wanted.layout), width(there.layout));
    for (key, value) in &wanted.settings {
        let has = match key.as_str() {
            "chown_non_root" => there.chown_non_root.to_string(),
            "root_squash" => there.root_squash.to_string(),
            "atime" => there.atime.clone(),
            _ => "unknown".to_owned(),
        };
        compare(key, value.clone(), has);
    }
    found
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("{text:?} is not an octal mode, as in 0755"))
}
