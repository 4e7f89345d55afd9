//! Tells targets of their replica sets when they come, or come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xtfs_core::{BootNumber, TargetId};
use xtfs_rpc::{Address, TargetState};

use super::Backoff;
use crate::mrc::Mrc;

const INTERVAL: Duration = Duration::from_secs(2);

/// What of a target changes when it registers anew.
type Run = (bool, BootNumber, Vec<Address>);

pub(super) async fn run(mrc: Arc<Mrc>) {
    let mut told: HashMap<TargetId, Run> = HashMap::new();
    let mut backoff = Backoff::default();
    let mut changes = mrc.osds.changes();
    loop {
        let list = mrc.list();
        for target in &list.targets {
            let run = (target.alive, target.boot, target.addresses.clone());
            let is_new = told.get(&target.id) != Some(&run);
            let is_there = target.alive && target.state != TargetState::Removed;
            if !is_new || is_there && !backoff.may_ask(&target.id, Instant::now()) {
                continue;
            }
            if is_there {
                if let Err(err) = mrc.tell_target(target.id).await {
                    tracing::info!(target = %target.id, %err, "an OSD cannot be told its sets yet");
                    backoff.failed(target.id, Instant::now());
                    continue;
                }
                backoff.succeeded(&target.id);
            }
            told.insert(target.id, run);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(INTERVAL) => {}
            () = mrc.stop.cancelled() => return,
        }
    }
}
