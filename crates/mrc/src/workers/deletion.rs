//! Deletes what nobody can reach any more (R8): durable here first, then at the OSDs, then the rows go.
//!
//! A target that is silent holds up what it has a column of, and nothing else. Rests in the grace
//! period after a start, when sessions that hold files open may still come back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xtfs_core::{ColumnId, Ino, Result, TargetId, VolumeId};

use super::Backoff;
use crate::mrc::{Mrc, OSD_DEADLINE_MAX};
use crate::osds::{COLUMNS_MAX, by_target};
use crate::state::inode::Orphan;
use crate::state::{Action, Answer};

const INTERVAL: Duration = Duration::from_secs(1);
/// Lets unlinks that come together go together.
const GATHER: Duration = Duration::from_millis(50);
/// Orphans dealt with at once; bounds what is in memory, however many there are.
const PAGE: usize = 512;
/// Columns whose deletion is remembered while another column of the file waits.
const CONFIRMED_MAX: usize = 100_000;

#[derive(Debug, Default)]
struct Worker {
    backoff: Backoff<TargetId>,
    /// Deleted at their targets, of files that wait for another target.
    confirmed: HashSet<ColumnId>,
}

/// An orphan with its columns and where they lie.
type Dying = (Ino, Vec<(TargetId, ColumnId)>);

pub(super) async fn run(mrc: Arc<Mrc>) {
    let mut worker = Worker::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.wake.deletion.notified() => tokio::time::sleep(GATHER).await,
            () = mrc.stop.cancelled() => return,
        }
        if mrc.clocks.in_grace(Instant::now()) {
            continue;
        }
        if let Err(err) = worker.round(&mrc).await {
            tracing::warn!(%err, "deleting files");
        }
    }
}

impl Worker {
    async fn round(&mut self, mrc: &Arc<Mrc>) -> Result<()> {
        self.backoff.forget_before(Instant::now());
        if self.confirmed.len() > CONFIRMED_MAX {
            // Deleting again is harmless.
            self.confirmed.clear();
        }
        for volume in mrc.view(|view| view.volumes())? {
            let mut after = Ino(0);
            loop {
                let page = mrc.view(|view| view.any_volume(volume.id)?.orphans(after, PAGE))?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                let ended = page.len() < PAGE;
                self.delete(mrc, volume.id, page).await?;
                if ended || mrc.stop.is_cancelled() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn delete(
        &mut self,
        mrc: &Arc<Mrc>,
        volume: VolumeId,
        page: Vec<(Ino, Orphan)>,
    ) -> Result<()> {
        let dying = begin(mrc, volume, page).await?;
        let dying = dying
            .into_iter()
            .map(|ino| Ok((ino, columns_of(mrc, volume, ino)?)))
            .collect::<Result<Vec<Dying>>>()?;
        let wanted = dying.iter().flat_map(|(_, columns)| columns.iter().copied());
        let wanted = wanted.filter(|(_, column)| !self.confirmed.contains(column));
        self.ask_targets(mrc, by_target(wanted).into_iter().collect()).await;
        let all_confirmed = |(_, columns): &&Dying| {
            columns.iter().all(|(_, column)| self.confirmed.contains(column))
        };
        let (done, columns): (Vec<_>, Vec<_>) = dying.iter().filter(all_confirmed).cloned().unzip();
        if done.is_empty() {
            return Ok(());
        }
        mrc.command(volume, Action::FinishDelete(done)).await?;
        for (_, column) in columns.into_iter().flatten() {
            self.confirmed.remove(&column);
        }
        Ok(())
    }

    /// Each target in a task of its own: a silent one does not hold up the others.
    async fn ask_targets(&mut self, mrc: &Arc<Mrc>, wanted: HashMap<TargetId, Vec<ColumnId>>) {
        let mut asking = tokio::task::JoinSet::new();
        for (target, columns) in wanted {
            if !self.backoff.may_ask(&target, Instant::now()) {
                continue;
            }
            let mrc = mrc.clone();
            asking.spawn(async move {
                let mut confirmed = Vec::new();
                for chunk in columns.chunks(COLUMNS_MAX) {
                    match mrc.osds.delete(target, chunk, Vec::new(), OSD_DEADLINE_MAX).await {
                        Ok(()) => confirmed.extend_from_slice(chunk),
                        Err(err) => return (target, confirmed, Some(err)),
                    }
                }
                (target, confirmed, None)
            });
        }
        while let Some(answered) = asking.join_next().await {
            let Ok((target, confirmed, failed)) = answered else { continue };
            self.confirmed.extend(confirmed);
            match failed {
                None => self.backoff.succeeded(&target),
                Some(err) => {
                    tracing::info!(%target, %err, "deletions wait for an OSD");
                    self.backoff.failed(target, Instant::now());
                }
            }
        }
    }
}

/// Says durably that OSDs will be told. Those that somebody holds, or may be about to open, stay out.
async fn begin(mrc: &Mrc, volume: VolumeId, page: Vec<(Ino, Orphan)>) -> Result<Vec<Ino>> {
    let (waiting, mut dying): (Vec<_>, Vec<_>) =
        page.into_iter().partition(|(_, orphan)| *orphan == Orphan::Waiting);
    let now = mrc.time.now();
    let free = mrc.view(|view| {
        let volume = view.any_volume(volume)?;
        let mut free = Vec::new();
        for (ino, _) in waiting {
            let reached = volume.inode(ino)?.may_still_be_reached(now);
            if !reached && !volume.is_held(ino)? {
                free.push(ino);
            }
        }
        Ok(free)
    })?;
    if !free.is_empty() {
        let begin = Action::BeginDelete(free);
        if let Answer::Deleting(begun) = mrc.command(volume, begin).await? {
            dying.extend(begun.into_iter().map(|ino| (ino, Orphan::Deleting)));
        }
    } else if !dying.is_empty() {
        // A power cut must not bring back what OSDs are told to delete.
        mrc.sync().await?;
    }
    Ok(dying.into_iter().map(|(ino, _)| ino).collect())
}

fn columns_of(mrc: &Mrc, volume: VolumeId, ino: Ino) -> Result<Vec<(TargetId, ColumnId)>> {
    let inode = mrc.view(|view| view.any_volume(volume)?.inode(ino))?;
    match &inode.layout {
        Some(layout) => mrc.placed_columns(volume, layout),
        None => Ok(Vec::new()),
    }
}
