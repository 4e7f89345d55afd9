//! One data directory: its store, its threads, and who is connected to it.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use xtfs_core::units::Bytes;
use xtfs_core::{Error, Result, TargetId};
use xtfs_proto::{error_detail, v1};
use xtfs_rpc::DataDir;

use crate::budget::Budget;
use crate::connections::{Connections, InFlight};
use crate::ops;
use crate::osd::Osd;
use crate::request::Io;
use crate::store::{Space, Store};
use crate::workers::Workers;

/// Free space below this is none.
const FULL_BELOW: u64 = 16 << 20;
/// Nearly full: less than one part in so many is free.
const NEARLY_FULL_PART: u64 = 20;

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) path: PathBuf,
    /// Why the target does not serve, with the next step; or its store.
    store: Result<Arc<Store>, String>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) workers: Workers,
    pub(crate) budget: Budget,
    condition: Mutex<Condition>,
    /// Holds the lock of the directory.
    _dir: DataDir,
}

/// As last looked at; see `maintenance`.
#[derive(Debug, Default)]
struct Condition {
    space: Space,
    sync_fault: Option<String>,
    space_fault: Option<String>,
    nearly_full: bool,
}

impl Target {
    pub(crate) fn new(dir: DataDir, store: Result<Arc<Store>, String>, budget: Budget) -> Self {
        let space = store.as_ref().ok().and_then(|store| store.space().ok());
        let condition = Condition { space: space.unwrap_or_default(), ..Condition::default() };
        Target {
            id: dir.target_id(),
            path: dir.path().to_owned(),
            store,
            connections: Arc::default(),
            workers: Workers::new(),
            budget,
            condition: Mutex::new(condition),
            _dir: dir,
        }
    }

    pub(crate) fn space(&self) -> Space {
        self.condition.lock().space
    }

    /// Tells whether the target has become nearly full.
    pub(crate) fn set_space(&self, space: Space) -> bool {
        let mut condition = self.condition.lock();
        let nearly_full = space.free < space.total / NEARLY_FULL_PART;
        let became = nearly_full && !condition.nearly_full;
        condition.space = space;
        condition.nearly_full = nearly_full;
        became
    }

    pub(crate) fn set_sync_fault(&self, fault: Option<String>) {
        self.log_change(&fault, |condition| &mut condition.sync_fault);
    }

    pub(crate) fn set_space_fault(&self, fault: Option<String>) {
        self.log_change(&fault, |condition| &mut condition.space_fault);
    }

    fn log_change(
        &self,
        fault: &Option<String>,
        field: impl FnOnce(&mut Condition) -> &mut Option<String>,
    ) {
        let mut condition = self.condition.lock();
        let known = field(&mut condition);
        match (fault, known.is_some()) {
            (Some(fault), false) => {
                tracing::error!(target = %self.id, path = %self.path.display(), "{fault}");
            }
            (None, true) => tracing::info!(target = %self.id, "serving again"),
            _ => {}
        }
        known.clone_from(fault);
    }

    /// Why it does not serve, or takes no new data, with the next step. Empty: all is well.
    pub(crate) fn fault(&self) -> String {
        if let Err(fault) = &self.store {
            return fault.clone();
        }
        let condition = self.condition.lock();
        let full = condition.space.free < FULL_BELOW;
        let faults = [condition.space_fault.clone(), condition.sync_fault.clone()];
        let full = full.then(|| {
            let total = Bytes(condition.space.total);
            format!("full ({total}): it takes no new data; add an OSD or delete files")
        });
        faults.into_iter().flatten().chain(full).next().unwrap_or_default()
    }

    pub(crate) fn store(&self) -> Result<&Arc<Store>> {
        self.store.as_ref().map_err(|fault| Error::Unavailable(fault.clone()))
    }

    /// Zero if the target does not serve.
    pub(crate) fn boot(&self) -> u64 {
        self.store().map_or(0, |store| store.boot().0)
    }

    /// Runs `call` on the store, on a thread of this target.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(self.store()?);
        self.workers.run(deadline, move || call(&store)).await
    }

    /// Runs `call` on a thread that is not one of the workers, without a deadline: for what takes
    /// long and nobody waits for. One of each kind at a time.
    pub(crate) async fn run_aside<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(self.store()?);
        let running = tokio::task::spawn_blocking(move || call(&store));
        running.await.map_err(|panic| Error::Internal(format!("a store call failed: {panic}")))?
    }

    /// A read, write or sync, however it came. `in_flight` ends when the store is done with it,
    /// which may be after its deadline.
    pub(crate) async fn io(
        &self,
        osd: &Arc<Osd>,
        request: v1::IoRequest,
        deadline: Instant,
        in_flight: Result<InFlight>,
    ) -> v1::IoReply {
        let id = request.id;
        let begun = Instant::now();
        let (name, bytes, answer) = match Io::try_from(request) {
            Ok(io) => {
                let (name, bytes) = (io.name(), io.bytes());
                (name, bytes, self.perform(osd, io, deadline, in_flight).await)
            }
            Err(err) => ("unknown", 0, Err(err)),
        };
        if let Err(err @ Error::Corrupt(_)) = &answer {
            osd.metrics.corrupt(self.id);
            tracing::error!(target = %self.id, path = %self.path.display(), name, "{err}");
        }
        osd.metrics.count_io(name, bytes, begun.elapsed(), answer.as_ref().err());
        match answer {
            Ok(reply) => v1::IoReply { id, ..reply },
            Err(err) => v1::IoReply {
                id,
                error: Some(error_detail(err)),
                boot: self.boot(),
                ..Default::default()
            },
        }
    }

    async fn perform(
        &self,
        osd: &Arc<Osd>,
        io: Io,
        deadline: Instant,
        in_flight: Result<InFlight>,
    ) -> Result<v1::IoReply> {
        let in_flight = in_flight?;
        let (osd, target) = (Arc::clone(osd), self.id);
        self.run(deadline, move |store| {
            // It may have waited long: a newer generation, or an expired capability, ends it here.
            in_flight.still_newest()?;
            match io {
                Io::Read(proof, range) => {
                    let fence = osd.admit(store, target, &proof)?;
                    ops::read::read(store, proof.claim.column, fence, range)
                }
                Io::Write(proof, write) => {
                    let fence = osd.admit(store, target, &proof)?;
                    ops::write::write(store, fence, &write)
                }
                Io::Punch(proof, span) => {
                    let fence = osd.admit(store, target, &proof)?;
                    ops::span::punch(store, fence, &span)
                }
                Io::Allocate(proof, span) => {
                    let fence = osd.admit(store, target, &proof)?;
                    ops::span::allocate(store, fence, &span)
                }
                Io::NextData(proof, offset) => {
                    let fence = osd.admit(store, target, &proof)?;
                    ops::span::next_data(store, proof.claim.column, fence, offset)
                }
                Io::Sync(column) => ops::sync::sync_one(store, column),
            }
        })
        .await
    }
}
