//! What an OSD does without being asked: buffered data to disk, space, tombstones, vanished clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use xtfs_core::units::Bytes;

use crate::osd::Osd;
use crate::target::Target;

/// Data that nobody syncs is on disk after this.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
const GC_INTERVAL: Duration = Duration::from_secs(60);
/// Tombstones outlive every capability: those live for a minute, and sessions hold what they opened
/// no longer than their expiry.
const TOMBSTONE_AGE: Duration = Duration::from_secs(3600);
/// A disk that does not answer for so long is a fault.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Starts what looks after each target. It ends with the daemon.
pub(crate) fn spawn(osd: &Arc<Osd>) {
    for target in osd.targets.values() {
        if target.store().is_err() {
            continue;
        }
        // Each on a task of its own: syncs take long where much was written.
        osd.tasks.spawn(keep_synced(Arc::clone(osd), Arc::clone(target)));
        osd.tasks.spawn(keep_measured(Arc::clone(osd), Arc::clone(target)));
        osd.tasks.spawn(keep_tidy(Arc::clone(osd), Arc::clone(target)));
    }
}

async fn keep_synced(osd: Arc<Osd>, target: Arc<Target>) {
    let mut ticks = interval(SYNC_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = osd.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Not one of the workers: a long sync must not take a thread from requests.
        match target.run_aside(|store| store.sync_all()).await {
            Ok(_columns) => target.set_sync_fault(None),
            Err(err) => target.set_sync_fault(Some(format!(
                "writing to the disk failed: {err}; check the disk, then restart xtfs-osd"
            ))),
        }
    }
}

async fn keep_measured(osd: Arc<Osd>, target: Arc<Target>) {
    let mut ticks = interval(SPACE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = osd.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        measure(&osd, &target).await;
    }
}

async fn measure(osd: &Osd, target: &Target) {
    let measured = target.run(Instant::now() + CALL_MAX, |store| store.space()).await;
    let space = match measured {
        Ok(space) => space,
        Err(err) => {
            target.set_space_fault(Some(format!(
                "the disk does not answer: {err}; check the disk and its file system"
            )));
            return;
        }
    };
    target.set_space_fault(None);
    let nearly_full = target.set_space(space);
    if nearly_full {
        tracing::warn!(
            target = %target.id, path = %target.path.display(),
            "nearly full: {} free of {}; add an OSD or delete files",
            Bytes(space.free), Bytes(space.total)
        );
    }
    let gauge = |what, value| osd.metrics.gauge(target.id, what, value);
    let count = |value: usize| value as u64;
    gauge("total_bytes", space.total);
    gauge("used_bytes", space.used);
    gauge("free_bytes", space.free);
    gauge("in_flight_bytes", count(target.budget.taken()));
    gauge("in_flight_bytes_max", count(target.budget.max()));
    gauge("workers_running", count(target.workers.running()));
    gauge("workers_max", count(crate::workers::WORKERS_MAX));
    gauge("workers_waiting", count(target.workers.waiting()));
    gauge("clients", count(target.connections.clients()));
}

async fn keep_tidy(osd: Arc<Osd>, target: Arc<Target>) {
    let mut ticks = interval(GC_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = osd.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        target.connections.expire();
        let now = osd.clock.now();
        match target.run_aside(move |store| store.gc(now, TOMBSTONE_AGE)).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(target = %target.id, forgotten, "tombstones"),
            Err(err) => tracing::warn!(target = %target.id, "forget tombstones: {err}"),
        }
    }
}
