//! Jobs around the code: `cargo xtask dist`, `samples`, `campaign`, `tidy`.

mod campaign;
mod dist;
mod samples;
mod tidy;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Jobs around the code of xtfs")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Build release binaries, man pages, completions, units and sample configurations into target/dist
    Dist,
    /// Write deploy/*.toml anew from the configuration structs
    Samples,
    /// Run a long test: kills, power-cuts, kernel, fsx, pjdfstest, stress, dbench
    Campaign(campaign::Campaign),
    /// Check what compiler and linter cannot: first lines, fresh samples, nothing left unfinished
    Tidy,
}

fn main() -> Result<()> {
    let root = checkout()?;
    match Cli::parse().job {
        Job::Dist => dist::dist(&root),
        Job::Samples => samples::write(&root),
        Job::Campaign(campaign) => campaign::run(&campaign),
        Job::Tidy => tidy::check(&root),
    }
}

/// The checkout that this was built from.
fn checkout() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root =
        here.ancestors().nth(2).context("crates/xtask lies two levels below the checkout")?;
    Ok(root.to_owned())
}
