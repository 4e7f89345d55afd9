//! Very many files in one volume: rates early and late, memory, and the time of a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xtfs_client::{Caller, Volume};

use crate::grounds::{self, Answers, Grounds};
use crate::operation::Operation;
use crate::process::anonymous_bytes;
use crate::report::Report;
use crate::tree::{self, DIRECTORY_FILES, Tree};

/// Files after which the rates are measured first.
const EARLY_FILES: u64 = 100_000;
const VOLUME: &str = "scale";
/// How exactly the time of a restart is known: a lookup that gets no answer ends after this.
const HASTE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) files: u64,
    pub(crate) big_directory: u64,
    pub(crate) clients: usize,
    pub(crate) depth: usize,
    /// Of a measurement.
    pub(crate) length: Duration,
}

impl Scale {
    pub(crate) async fn run(&self, mut grounds: Grounds, report: &mut Report) -> Result<()> {
        let Some(small) = self.files.checked_sub(self.big_directory) else {
            bail!("the big directory has more files than there are");
        };
        let directories = small / DIRECTORY_FILES;
        let early = directories.min(EARLY_FILES / DIRECTORY_FILES);
        let sessions = grounds.sessions(VOLUME, Answers::NotKept, self.clients).await?;
        let begun = Instant::now();
        let progress = report.progress(self.files);
        let first = tree::grow(&sessions, self.depth, 0..early, &progress).await?;
        progress.suspend(|| memory("early", &grounds, report))?;
        self.rates("early", &sessions, &first, &grounds, report).await?;
        let rest = tree::grow(&sessions, self.depth, early..directories, &progress).await?;
        let whole = first.joined(&rest);
        if self.big_directory > 0 {
            let depth = self.clients * self.depth;
            let start = Instant::now();
            tree::grow_big(&sessions[0], depth, self.big_directory, &progress).await?;
            report.fact("big directory", per_second(self.big_directory, start), "creates/s");
        }
        progress.finish_and_clear();
        // With the measurements in between.
        report.fact("all files", per_second(self.files, begun), "creates/s");
        memory("late", &grounds, report)?;
        self.rates("late", &sessions, &whole, &grounds, report).await?;
        memory("after looks", &grounds, report)?;
        if grounds.folder().is_some() {
            restart(&mut grounds, &whole, report).await?;
            memory("restarted", &grounds, report)?;
        }
        grounds::end(sessions).await
    }

    async fn rates(
        &self,
        when: &str,
        sessions: &[Arc<Volume>],
        tree: &Tree,
        grounds: &Grounds,
        report: &mut Report,
    ) -> Result<()> {
        for operation in [Operation::Mknod, Operation::Stat, Operation::List] {
            let workers = operation.workers(sessions, self.depth, Some(tree)).await?;
            let measured = operation.measure(workers, self.length, grounds.mrc_pid()).await?;
            let what = format!("{when}: {}", operation.name());
            report.row(&what, self.clients, self.depth, &measured);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn memory(when: &str, grounds: &Grounds, report: &mut Report) -> Result<()> {
    if let Some(pid) = grounds.mrc_pid() {
        let mebibytes = anonymous_bytes(pid)? as f64 / f64::from(1 << 20);
        report.fact(&format!("{when}: anonymous memory of the MRC"), mebibytes, "MiB");
    }
    Ok(())
}

/// From the kill to the first answer.
async fn restart(grounds: &mut Grounds, tree: &Tree, report: &mut Report) -> Result<()> {
    let hasty = grounds.hasty_session(VOLUME, HASTE).await?;
    let Some((directory, name)) = tree.any() else { bail!("there are no files") };
    let killed = Instant::now();
    grounds.restart_mrc()?;
    report.fact("restart: the MRC listens", killed.elapsed().as_secs_f64() * 1e3, "ms");
    loop {
        match hasty.lookup(&Caller::ROOT, directory, name.as_bytes()).await {
            Ok(_) => break,
            Err(err) if err.is_retryable() => {}
            Err(err) => return Err(err.into()),
        }
    }
    report.fact("restart: first lookup", killed.elapsed().as_secs_f64() * 1e3, "ms");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
