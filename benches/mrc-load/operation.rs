//! What clients do to an MRC, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use tokio::task::JoinSet;
use xtfs_client::{Caller, CreateNode, FileKind, OpenFlags, Volume};
use xtfs_core::Ino;

use crate::measure::{Clock, Measured, Samples};
use crate::tree::{self, Tree};

/// Of directories and files.
pub(crate) const NODE: CreateNode = CreateNode { mode: 0o755, umask: 0 };
/// Entries asked for at once, as the kernel's side does.
const PAGE_ENTRIES: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// An empty file, not opened
    Mknod,
    /// The same, and its directory synced
    MknodSync,
    /// A file opened for writing, then closed: two requests
    Create,
    /// The same, and its directory synced
    CreateSync,
    /// A name looked up and its attributes asked for: two requests
    Stat,
    /// A directory listed with attributes, counted in entries
    List,
}

/// One request at a time, of one session.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    volume: Arc<Volume>,
    /// Where it makes files.
    own: Ino,
    made: u64,
    number: usize,
    tree: Tree,
}

impl Operation {
    pub(crate) const ALL: [Operation; 6] = [
        Operation::Mknod,
        Operation::MknodSync,
        Operation::Create,
        Operation::CreateSync,
        Operation::Stat,
        Operation::List,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Mknod => "mknod",
            Operation::MknodSync => "mknod-sync",
            Operation::Create => "create",
            Operation::CreateSync => "create-sync",
            Operation::Stat => "stat",
            Operation::List => "list",
        }
    }

    /// Changes nothing.
    pub(crate) fn looks(self) -> bool {
        match self {
            Operation::Stat | Operation::List => true,
            Operation::Mknod | Operation::MknodSync | Operation::Create | Operation::CreateSync => {
                false
            }
        }
    }

    /// `depth` for each session, which share a new directory.
    pub(crate) async fn workers(
        self,
        sessions: &[Arc<Volume>],
        depth: usize,
        tree: Option<&Tree>,
    ) -> Result<Vec<Worker>> {
        let mut workers = Vec::new();
        for volume in sessions {
            let name = format!("{}-{:016x}", self.name(), rand::random::<u64>());
            let own = volume.mkdir(&Caller::ROOT, volume.root(), name.as_bytes(), NODE).await?.ino;
            workers.extend((0..depth).map(|number| Worker {
                volume: volume.clone(),
                own,
                made: 0,
                number,
                tree: tree.cloned().unwrap_or_default(),
            }));
        }
        Ok(workers)
    }

    /// All at work for `length`.
    pub(crate) async fn measure(
        self,
        workers: Vec<Worker>,
        length: Duration,
        mrc: Option<u32>,
    ) -> Result<Measured> {
        let clock = Clock::start(mrc)?;
        let mut running = JoinSet::new();
        for mut worker in workers {
            running.spawn(async move {
                let mut samples = Samples::default();
                let end = Instant::now() + length;
                while Instant::now() < end {
                    let begun = Instant::now();
                    let count = worker.act(self).await?;
                    samples.add(begun.elapsed(), count);
                }
                Ok::<_, anyhow::Error>(samples)
            });
        }
        let mut samples = Vec::new();
        while let Some(ended) = running.join_next().await {
            samples.push(ended??);
        }
        clock.stop(samples)
    }
}

impl Worker {
    /// How much was done.
    async fn act(&mut self, operation: Operation) -> Result<u64> {
        match operation {
            Operation::Mknod => self.mknod().await?,
            Operation::MknodSync => {
                self.mknod().await?;
                self.volume.sync_metadata().await?;
            }
            Operation::Create => self.create().await?,
            Operation::CreateSync => {
                self.create().await?;
                self.volume.sync_metadata().await?;
            }
            Operation::Stat => self.stat().await?,
            Operation::List => return self.list().await,
        }
        Ok(1)
    }

    fn next_name(&mut self) -> String {
        self.made += 1;
        format!("f{:03}-{:07}", self.number, self.made)
    }

    async fn mknod(&mut self) -> Result<()> {
        let name = self.next_name();
        let (volume, kind) = (&self.volume, FileKind::File);
        volume.mknod(&Caller::ROOT, self.own, name.as_bytes(), kind, NODE, 0).await?;
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        let name = self.next_name();
        let flags = OpenFlags { write: true, exclusive: true, ..OpenFlags::default() };
        let (volume, name) = (&self.volume, name.as_bytes());
        let (_, file) = volume.create(&Caller::ROOT, self.own, name, NODE, flags).await?;
        file.release().await?;
        Ok(())
    }

    async fn stat(&self) -> Result<()> {
        let Some((directory, name)) = self.tree.any() else { bail!("there are no files") };
        let found = self.volume.lookup(&Caller::ROOT, directory, name.as_bytes()).await?;
        self.volume.getattr(&Caller::ROOT, found.ino).await?;
        Ok(())
    }

    async fn list(&self) -> Result<u64> {
        let Some((directory, _)) = self.tree.any() else { bail!("there are no files") };
        let (mut after, mut listed) = (0, 0);
        loop {
            let (volume, caller) = (&self.volume, &Caller::ROOT);
            let page = volume.readdir(caller, directory, after, PAGE_ENTRIES, true).await?;
            listed += page.entries.len() as u64;
            match page.entries.last() {
                Some(last) if !page.end => after = last.cookie,
                _ => break,
            }
        }
        anyhow::ensure!(listed == tree::DIRECTORY_FILES, "{listed} entries in a directory");
        Ok(listed)
    }
}
