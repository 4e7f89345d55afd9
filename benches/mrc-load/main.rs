//! `mrc-load`: what an MRC carries, beside what its store alone can do; see README.md.

mod grounds;
mod measure;
mod operation;
mod process;
mod report;
mod scale;
mod store;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use xtfs_rpc::DirAddresses;

use crate::grounds::{Answers, Grounds};
use crate::operation::Operation;
use crate::report::Report;
use crate::scale::Scale;

/// Directories that are looked at.
const TREE_DIRECTORIES: u64 = 32;

const EXAMPLES: &str = "Examples:
  mrc-load --clients 1,8,64 --seconds 5
  mrc-load --only mknod,stat --clients 8 --depth 4 --json
  mrc-load --files 10000000 --big-directory 1000000 --clients 8 --depth 8
  mrc-load --dir meta1 --mrc-pid 4711 --clients 8

Without --dir it starts a DIR, an MRC and an OSD of its own in a temporary folder (TMPDIR says where), and measures the
store beside them.";

/// Loads an MRC without any mount.
#[derive(Debug, Parser)]
#[command(name = "mrc-load", after_help = EXAMPLES)]
struct Options {
    /// Sessions at work at once: one round of measurements for each number
    #[arg(long, value_delimiter = ',', value_name = "N[,N…]", default_value = "1,8,64")]
    clients: Vec<usize>,
    /// Requests in flight of each session
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// Length of each measurement
    #[arg(long, value_name = "N", default_value_t = 5)]
    seconds: u64,
    /// Only these
    #[arg(long, value_delimiter = ',', value_name = "NAME[,NAME…]")]
    only: Vec<Operation>,
    /// Make this many files in one volume and measure at 100 000 and at the end
    #[arg(long, value_name = "N")]
    files: Option<u64>,
    /// This many of the files are in one directory
    #[arg(long, value_name = "N", default_value_t = 0)]
    big_directory: u64,
    /// A DIR that runs; the volumes that are made there stay
    #[arg(long, value_name = "ADDR[,ADDR…]")]
    dir: Option<DirAddresses>,
    /// The process of the MRC that runs, to see what it uses
    #[arg(long, value_name = "PID", requires = "dir")]
    mrc_pid: Option<u32>,
    /// Keep the services' data in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if options.depth == 0 || options.clients.is_empty() || options.clients.contains(&0) {
        bail!("a load has at least one client and one request in flight");
    }
    let grounds = match &options.dir {
        Some(dirs) => Grounds::running(dirs.clone(), options.mrc_pid),
        None => Grounds::start(options.data.as_deref()),
    };
    let mut report = Report::new(options.json);
    match options.files {
        Some(files) => scale(&options, files, grounds, &mut report).await?,
        None => rates(&options, grounds, &mut report).await?,
    }
    report.end()
}

async fn scale(options: &Options, files: u64, grounds: Grounds, report: &mut Report) -> Result<()> {
    let scale = Scale {
        files,
        big_directory: options.big_directory,
        clients: options.clients[options.clients.len() - 1],
        depth: options.depth,
        length: Duration::from_secs(options.seconds),
    };
    scale.run(grounds, report).await
}

async fn rates(options: &Options, grounds: Grounds, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(options.seconds);
    let wanted =
        |operation: &Operation| options.only.is_empty() || options.only.contains(operation);
    let (looks, changes): (Vec<_>, Vec<_>) =
        Operation::ALL.into_iter().filter(wanted).partition(|operation| operation.looks());
    let most = options.clients.iter().copied().max().unwrap_or(1);
    if !changes.is_empty() {
        let sessions = grounds.sessions("load", Answers::Kept, most).await?;
        for &clients in &options.clients {
            for &operation in &changes {
                let workers = operation.workers(&sessions[..clients], options.depth, None).await?;
                let measured = operation.measure(workers, length, grounds.mrc_pid()).await?;
                report.row(operation.name(), clients, options.depth, &measured);
            }
        }
        grounds::end(sessions).await?;
    }
    if !looks.is_empty() {
        let sessions = grounds.sessions("load-looks", Answers::NotKept, most).await?;
        let progress = report.progress(TREE_DIRECTORIES * tree::DIRECTORY_FILES);
        let tree = tree::grow(&sessions, options.depth.max(8), 0..TREE_DIRECTORIES, &progress);
        let tree = tree.await?;
        progress.finish_and_clear();
        for &clients in &options.clients {
            for &operation in &looks {
                let workers =
                    operation.workers(&sessions[..clients], options.depth, Some(&tree)).await?;
                let measured = operation.measure(workers, length, grounds.mrc_pid()).await?;
                report.row(operation.name(), clients, options.depth, &measured);
            }
        }
        grounds::end(sessions).await?;
    }
    if let Some(folder) = grounds.folder().filter(|_| options.only.is_empty()) {
        for &threads in &options.clients {
            store::measure(&folder.join("store"), threads, length, report)?;
        }
    }
    Ok(())
}
