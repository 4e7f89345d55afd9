//! Removes deleted volumes piece by piece, and gives their names back to the DIR.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use xtfs_core::{Result, VolumeId};

use crate::mrc::Mrc;
use crate::state::{Action, Answer, Volume};

const INTERVAL: Duration = Duration::from_secs(1);
const DIR_DEADLINE: Duration = Duration::from_secs(5);
/// Commands for one volume before the next has its turn.
const PIECES_MAX: usize = 100;

pub(super) async fn run(mrc: Arc<Mrc>) {
    // Names that the DIR has surely got back.
    let mut released = HashSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.wake.purge.notified() => {}
            () = mrc.stop.cancelled() => return,
        }
        let volumes = match mrc.view(|view| view.volumes()) {
            Ok(volumes) => volumes,
            Err(err) => {
                tracing::warn!(%err, "looking for deleted volumes");
                continue;
            }
        };
        for volume in volumes.iter().filter(|volume| volume.purged.is_some()) {
            if let Err(err) = purge(&mrc, volume, &mut released).await {
                tracing::info!(volume = volume.name, %err, "a deleted volume waits");
            }
        }
    }
}

async fn purge(mrc: &Mrc, volume: &Volume, released: &mut HashSet<VolumeId>) -> Result<()> {
    // Before the last trace of the volume goes; the request that deleted it may have failed here.
    if !released.contains(&volume.id) {
        mrc.release_volume(&volume.name, volume.id, DIR_DEADLINE).await?;
        released.insert(volume.id);
    }
    let mut before = None;
    for _ in 0..PIECES_MAX {
        match mrc.command(volume.id, Action::PurgeVolume).await? {
            Answer::Purged { gone: true } => {
                tracing::info!(volume = volume.name, "a deleted volume is gone");
                released.remove(&volume.id);
                return Ok(());
            }
            _ => mrc.wake.deletion.notify_one(),
        }
        // No progress: the rest waits for OSDs.
        let now = mrc.view(|view| Ok(view.any_volume(volume.id)?.volume().purged))?;
        if before == Some(now) {
            return Ok(());
        }
        before = Some(now);
    }
    mrc.wake.purge.notify_one();
    Ok(())
}
