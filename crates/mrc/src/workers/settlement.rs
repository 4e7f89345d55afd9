//! Settles what is pending on files: cuts that not all columns have met (R6), sizes after several
//! writers (R3) and after the death of one (R4). A silent column is asked again later.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use xtfs_core::{Error, Ino, Result, VolumeId};

use super::Backoff;
use crate::mrc::{Mrc, OSD_DEADLINE_MAX};

/// Looks for work at least this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// Files settled at once.
const SETTLING_MAX: usize = 32;
/// Files read from the state at once.
const PAGE: usize = 256;
/// Gives whoever answers a request the time to settle it, before the worker does the same.
const REQUEST_FIRST: Duration = Duration::from_millis(20);

type File = (VolumeId, Ino);

pub(super) async fn run(mrc: Arc<Mrc>) {
    let mut backoff = Backoff::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.wake.settlement.notified() => tokio::time::sleep(REQUEST_FIRST).await,
            () = mrc.stop.cancelled() => return,
        }
        if let Err(err) = round(&mrc, &mut backoff).await {
            tracing::warn!(%err, "settling sizes");
        }
    }
}

async fn round(mrc: &Arc<Mrc>, backoff: &mut Backoff<File>) -> Result<()> {
    backoff.forget_before(Instant::now());
    let mut settling = JoinSet::new();
    let mut named = HashSet::new();
    for volume in mrc.view(|view| view.volumes())? {
        let mut after = Ino(0);
        loop {
            let page = mrc.view(|view| view.any_volume(volume.id)?.all_pending(after, PAGE))?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (ino, _) in page {
                let file = (volume.id, ino);
                if !backoff.may_ask(&file, Instant::now()) {
                    continue;
                }
                if settling.len() >= SETTLING_MAX {
                    note(settling.join_next().await, backoff, &mut named);
                }
                let mrc = mrc.clone();
                settling.spawn(async move {
                    (file, mrc.settle(file.0, file.1, OSD_DEADLINE_MAX).await)
                });
            }
        }
    }
    while let Some(done) = settling.join_next().await {
        note(Some(done), backoff, &mut named);
    }
    Ok(())
}

type Done = Result<(File, Result<bool>), tokio::task::JoinError>;

fn note(done: Option<Done>, backoff: &mut Backoff<File>, named: &mut HashSet<String>) {
    let Some(Ok((file, settled))) = done else { return };
    match settled {
        Ok(true) => backoff.succeeded(&file),
        // It has gone on meanwhile.
        Ok(false) | Err(Error::StaleHandle | Error::NotFound) => {}
        Err(err) => {
            backoff.failed(file, Instant::now());
            // One line for each cause and round, not one for each file.
            if named.insert(err.to_string()) {
                let (volume, ino) = file;
                tracing::info!(%volume, %ino, %err, "a file waits for its columns");
            }
        }
    }
}
