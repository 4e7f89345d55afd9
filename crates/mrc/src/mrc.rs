//! The service without the wire: what operations and workers share.

mod changes;
mod directory;
mod grants;
mod health;
mod names;
mod numbers;
mod promise;
mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::access::Identity;
use xtfs_core::capability::Key;
use xtfs_core::{ClusterId, Error, GroupId, Ino, Result, SessionId, StripeLayout, VolumeId};
use xtfs_proto::{Header, v1};
use xtfs_replog::Replog;
use xtfs_rpc::Directory;

use crate::appenders::Appenders;
use crate::expiry::Clocks;
use crate::leases::Leases;
use crate::osds::Osds;
use crate::service::Call;
use crate::sets::Sets;
use crate::state::{HeldLock, Inode, LockTable, MrcState, Numbers, Origin, View};
use crate::time::ServiceTime;
use crate::waiters::Waiters;

pub(crate) use self::grants::columns;
pub(crate) use self::names::Names;

/// How long a capability is valid.
pub const GRANT_EXPIRY: Duration = Duration::from_secs(60);
/// Longest time that one target is waited for; the client asks again until its own deadline.
pub(crate) const OSD_DEADLINE_MAX: Duration = Duration::from_secs(5);
/// A change that meets another on the way is made again this often.
pub(crate) const TRIES_MAX: usize = 4;

pub struct Mrc {
    pub(crate) cluster: ClusterId,
    pub(crate) group: GroupId,
    pub(crate) log: Arc<Replog<MrcState>>,
    pub(crate) osds: Osds,
    pub(crate) sets: Sets,
    pub(crate) clocks: Clocks,
    pub(crate) directory: Directory,
    pub(crate) wake: Wake,
    pub(crate) appenders: Appenders,
    pub(crate) waiters: Waiters,
    pub(crate) leases: Leases,
    pub(crate) names: Names,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) data: PathBuf,
    pub(crate) min_free_bytes: u64,
    pub(crate) time: ServiceTime,
    pub(crate) keys: watch::Receiver<Vec<Key>>,
    pub(crate) numbers: Mutex<Numbers>,
    pub(crate) reserving: tokio::sync::Mutex<()>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) slots_max: usize,
}

impl std::fmt::Debug for Mrc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mrc(group {}, {:?})", self.group, self.log.status())
    }
}

/// Work that waits for a worker.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(crate) settlement: Notify,
    pub(crate) deletion: Notify,
    pub(crate) purge: Notify,
}

/// On whose behalf a command is made.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) caller: Identity,
    pub(crate) origin: Option<Origin>,
}

impl Asker {
    /// The service itself.
    pub(crate) const SERVICE: Asker = Asker { caller: Identity::ROOT, origin: None };
}

impl Mrc {
    /// Refuses what is not for this group, what comes of an unknown session, and what is too much.
    pub(crate) fn admit(&self, header: &Header) -> Result<OwnedSemaphorePermit> {
        self.admit_waiting(header)?;
        self.slots
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded("the MRC works on as many requests as it may".into()))
    }

    /// A request that waits for others takes no slot from them; its own table is bounded.
    pub(crate) fn admit_waiting(&self, header: &Header) -> Result<()> {
        self.check_addressee(header)?;
        if header.session != SessionId(0) && !self.clocks.knows(header.session) {
            return Err(Error::SessionLost);
        }
        Ok(())
    }

    pub(crate) fn check_addressee(&self, header: &Header) -> Result<()> {
        header.clone().for_cluster(self.cluster)?;
        if header.group != GroupId(0) && header.group != self.group {
            return Err(Error::Invalid(format!(
                "the request is for MRC group {}, this is group {}",
                header.group, self.group
            )));
        }
        Ok(())
    }

    /// Returns when a read sees all that was answered before.
    pub(crate) async fn barrier(&self, call: &Call) -> Result<v1::LogStatus> {
        let wait = tokio::time::timeout(call.left(), self.log.barrier());
        wait.await.map_err(|_| Error::Deadline("the MRC has no leader".into()))??;
        Ok(self.log_status())
    }

    /// Looks at one instant of the state.
    pub(crate) fn view<T>(&self, look: impl FnOnce(View<'_>) -> Result<T>) -> Result<T> {
        self.log.view(|read| look(View::new(read, self.group)))
    }

    pub(crate) fn inode(&self, volume: VolumeId, ino: Ino) -> Result<Inode> {
        self.view(|view| view.volume(volume)?.inode(ino))
    }

    pub(crate) fn locks(&self, volume: VolumeId, ino: Ino) -> Result<LockTable> {
        self.view(|view| view.volume(volume)?.locks(ino))
    }

    /// Whether the state would grant it.
    pub(crate) fn is_lock_free(
        &self,
        (volume, ino): (VolumeId, Ino),
        wanted: &HeldLock,
    ) -> Result<bool> {
        self.view(|view| {
            let volume = view.volume(volume)?;
            let is_held = volume.locks(ino)?.conflicts(wanted).next().is_some();
            Ok(!is_held && !volume.pending(ino)?.dead_writer)
        })
    }

    /// Some may have been given back.
    pub(crate) fn locks_changed(&self, volume: VolumeId, ino: Ino) {
        self.waiters.tell(volume, ino, || self.locks(volume, ino));
    }

    pub(crate) fn parent_of(&self, volume: VolumeId, ino: Ino) -> Result<Ino> {
        self.view(|view| view.volume(volume)?.parent_of(ino))
    }

    /// What new files in a directory get.
    pub(crate) fn default_layout(&self, volume: VolumeId, directory: Ino) -> Result<StripeLayout> {
        self.view(|view| view.volume(volume)?.default_layout(directory))
    }

    pub(crate) fn log_status(&self) -> v1::LogStatus {
        let status = self.log.status();
        v1::LogStatus {
            term: status.term,
            term_start: status.term_start,
            index: status.index,
            durable: status.durable,
            now_ns: self.time.now().0,
        }
    }

    pub(crate) async fn sync(&self) -> Result<v1::LogStatus> {
        self.log.sync().await?;
        Ok(self.log_status())
    }
}
