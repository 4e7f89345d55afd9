//! What all parts of a mount share, and its rights at the OSDs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::{Error, Ino, Result};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, required};
use crate::cache::{Cache, described};
use crate::closes::Closes;
use crate::file_state::{FileState, FileTable, Rights};
use crate::method;
use crate::mrc::{ITSELF, Mrc};
use crate::osds::Osds;
use crate::recalls::Forgetting;
use crate::retry::Retry;
use crate::syncer::Syncer;
use crate::write_behind::WriteBehind;

/// Closes that go on in the background. At the bound a release waits.
pub(crate) const CLOSING_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) mrc: Arc<Mrc>,
    pub(crate) osds: Osds,
    pub(crate) files: Arc<FileTable>,
    pub(crate) syncer: Syncer,
    pub(crate) write_behind: WriteBehind,
    pub(crate) cache: Arc<Cache>,
    /// Open handles that the MRC was not asked for.
    pub(crate) local_handles: AtomicUsize,
    /// The kernel's side of what is kept.
    pub(crate) forgetting: Forgetting,
    /// The last owner of locks that got a number.
    pub(crate) lock_owners: AtomicU64,
    /// Numbers of turns to append.
    pub(crate) turns: AtomicU64,
    pub(crate) timeo: Duration,
    pub(crate) runtime: Handle,
    pub(crate) closes: Closes,
    /// Closes in the background.
    pub(crate) closing: TaskTracker,
    pub(crate) closing_room: Arc<Semaphore>,
    /// Of the tasks that live as long as the mount.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Mount {
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeo
    }

    /// Of an owner of locks; never used again.
    pub(crate) fn lock_number(&self) -> u64 {
        self.lock_owners.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Rights to the data of an open file; from the MRC if need be. `None`: the file has no data.
    pub(crate) async fn rights(
        &self,
        file: &FileState,
        write: bool,
        deadline: Instant,
    ) -> Result<Option<Rights>> {
        let rights = match file.rights(write, Instant::now()) {
            Ok(rights) => Some(rights),
            Err(renewals) => self.renew(file, write, renewals, deadline).await?,
        };
        // What was known when these rights were given is enough: with older ones columns refuse.
        if write {
            self.strip_set_ids(file, deadline).await?;
        }
        Ok(rights)
    }

    /// Fetches rights, unless somebody has since there were `renewals`.
    pub(crate) async fn renew(
        &self,
        file: &FileState,
        write: bool,
        renewals: u64,
        deadline: Instant,
    ) -> Result<Option<Rights>> {
        file.check()?;
        if self.mrc.session() != file.session {
            return Err(Error::SessionLost);
        }
        if file.local_opens(|local| local.are_unknown()) && !write {
            self.register(file, deadline).await?;
            if let Ok(rights) = file.rights(false, Instant::now()) {
                return Ok(Some(rights));
            }
        }
        let _renewing = tokio::time::timeout_at(deadline, file.renewing.lock())
            .await
            .map_err(|_| Error::Deadline("new rights to the file".into()))?;
        if file.renewals() != renewals
            && let Ok(rights) = file.rights(write, Instant::now())
        {
            return Ok(Some(rights));
        }
        let asked = Instant::now();
        let mut request = v1::RenewRequest {
            header: None,
            volume: self.mrc.volume.0,
            ino: file.ino.0,
            write: write || file.has_writers(),
        };
        let renewed = self.mrc.ask_until::<method::Renew>(&ITSELF, request.clone(), deadline);
        let reply = match renewed.await {
            // The last writer was closed on the way.
            Err(Error::StaleHandle) if !write && request.write => {
                request.write = false;
                self.mrc.ask_until::<method::Renew>(&ITSELF, request, deadline).await?
            }
            reply => reply?,
        };
        // Rights of a new session are none to what the handles of an older one kept.
        if self.mrc.session() != file.session {
            return Err(Error::SessionLost);
        }
        let granted = reply.layout.is_some() && reply.grant.is_some();
        file.set_ids.squash_root(reply.root_squash);
        // Before the rights: who has them knows.
        file.set_ids.saw(&required(reply.attributes)?);
        file.grant(reply.layout, reply.grant, asked)?;
        Ok(if granted { file.last_rights() } else { None })
    }

    /// From what is kept, or the MRC. `file`: what this mount knows of the inode, if it has it open.
    pub(crate) async fn getattr(
        &self,
        caller: &Caller,
        ino: Ino,
        file: Option<&FileState>,
        deadline: Instant,
    ) -> Result<Attributes> {
        if let Some(kept) = self.kept(|table| table.attributes_of(ino)) {
            return Ok(kept);
        }
        loop {
            let asked = self.asked();
            let report = file.and_then(|file| file.report.lock().to_wire());
            let request =
                v1::GetAttrRequest { header: None, volume: self.mrc.volume.0, ino: ino.0, report };
            let reply = self.mrc.ask_until::<method::GetAttr>(caller, request, deadline).await?;
            self.cache.learn(asked, reply.log.as_ref(), described(reply.attributes, reply.lease));
            if let Some(attributes) = self.cache.current(asked, required(reply.attributes)?) {
                return Ok(attributes);
            }
        }
    }

    /// The file's size, as the MRC settles it.
    pub(crate) async fn size(&self, file: &FileState, deadline: Instant) -> Result<u64> {
        Ok(self.getattr(&ITSELF, file.ino, Some(file), deadline).await?.size)
    }

    pub(crate) fn retry(deadline: Instant) -> Retry {
        Retry::until(deadline)
    }
}
