//! Has every target drop columns whose data numbers were never used: garbage of creates that a power
//! cut took (P5, R9).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xtfs_core::{Result, TargetId, VolumeId};
use xtfs_proto::v1;
use xtfs_rpc::TargetState;

use crate::mrc::{Mrc, OSD_DEADLINE_MAX};
use crate::state::Action;
use crate::state::command::NumberRange;

const INTERVAL: Duration = Duration::from_secs(5);
/// Ranges in one request.
const RANGES_MAX: usize = 256;

pub(super) async fn run(mrc: Arc<Mrc>) {
    // Ranges do not grow while this process leads: what a target has dropped stays dropped.
    let mut done = HashSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.stop.cancelled() => return,
        }
        if mrc.clocks.in_grace(Instant::now()) {
            continue;
        }
        if let Err(err) = round(&mrc, &mut done).await {
            tracing::warn!(%err, "dropping what was never used");
        }
    }
}

async fn round(mrc: &Mrc, done: &mut HashSet<TargetId>) -> Result<()> {
    let ranges: Vec<NumberRange> = mrc.view(|view| view.never_used())?;
    if ranges.is_empty() {
        return Ok(());
    }
    // That they will never be used must survive before anything is dropped for it.
    mrc.sync().await?;
    let list = mrc.list();
    let targets: Vec<_> = list
        .targets
        .iter()
        .filter(|target| target.state != TargetState::Removed)
        .map(|target| target.id)
        .collect();
    for &target in &targets {
        if !done.contains(&target) && drop_at(mrc, target, &ranges).await {
            done.insert(target);
        }
    }
    if targets.is_empty() || !targets.iter().all(|target| done.contains(target)) {
        return Ok(());
    }
    for range in ranges {
        mrc.command(VolumeId(0), Action::ForgetNeverUsed(range)).await?;
    }
    Ok(())
}

async fn drop_at(mrc: &Mrc, target: TargetId, ranges: &[NumberRange]) -> bool {
    for chunk in ranges.chunks(RANGES_MAX) {
        let range = |range: &NumberRange| v1::DataRange { first: range.start, end: range.end };
        let wire = chunk.iter().map(range).collect();
        if let Err(err) = mrc.osds.delete(target, &[], wire, OSD_DEADLINE_MAX).await {
            tracing::debug!(%target, %err, "never used columns wait for an OSD");
            return false;
        }
    }
    true
}
