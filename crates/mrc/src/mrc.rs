//! The service without the wire: what operations and workers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::access::Identity;
use xtfs_core::capability::{Capability, Key, Rights};
use xtfs_core::{
    ClusterId, ColumnId, Error, FileEpoch, Floor, GroupId, Ino, Result, SessionId, StripeLayout,
    TargetId, Timestamp, VolumeId,
};
use xtfs_proto::{Header, v1};
use xtfs_replog::{Durability, Replog};
use xtfs_rpc::{Directory, ServiceList, TargetState};

use crate::capacity::{self, Capacity, Disk};
use crate::encode;
use crate::expiry::Clocks;
use crate::extent::together;
use crate::osds::Osds;
use crate::placement::{Candidate, Standing};
use crate::service::Call;
use crate::sets::Sets;
use crate::state::command::{EndSession, Reserve, Resize, SetAttr, Settle, Touch};
use crate::state::inode::ReplicaSet;
use crate::state::numbers::RESERVE_COUNT;
use crate::state::{
    Action, Answer, Attributes, Command, Inode, Layout, MrcState, Numbers, Origin, View,
};
use crate::time::ServiceTime;

/// How long a capability is valid.
pub const GRANT_EXPIRY: Duration = Duration::from_secs(60);
/// Longest time that one target is waited for; the client asks again until its own deadline.
pub(crate) const OSD_DEADLINE_MAX: Duration = Duration::from_secs(5);
/// How long the DIR may take where its last list would do.
const DIR_DEADLINE: Duration = Duration::from_secs(2);
/// How long a truncation waits for its columns before it is left to the worker (R6).
const SEAL_WAIT_MAX: Duration = Duration::from_secs(3);
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

// ---- Requests.

impl Mrc {
    /// Refuses what is not for this group, what comes of an unknown session, and what is too much.
    pub(crate) fn admit(&self, header: &Header) -> Result<OwnedSemaphorePermit> {
        self.check_addressee(header)?;
        if header.session != SessionId(0) && !self.clocks.knows(header.session) {
            return Err(Error::SessionLost);
        }
        self.slots
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded("the MRC works on as many requests as it may".into()))
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

// ---- Changes.

impl Mrc {
    /// Carries out a command; a refusal of the state is an error here.
    pub(crate) async fn propose(
        &self,
        asker: Asker,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Answer, v1::LogStatus)> {
        let Asker { caller, origin } = asker;
        let command = Command { now: self.time.now(), caller, origin, volume, action };
        let durability = match command.durability() {
            xtfs_kv::Durability::Process => Durability::Lazy,
            xtfs_kv::Durability::Synced => Durability::Durable,
        };
        let receipt = self.log.propose(command, durability).await?;
        let log = v1::LogStatus { index: receipt.index, ..self.log_status() };
        Ok((receipt.reply?, log))
    }

    /// A command of the service itself.
    pub(crate) async fn command(&self, volume: VolumeId, action: Action) -> Result<Answer> {
        Ok(self.propose(Asker::SERVICE, volume, action).await?.0)
    }

    /// A client's mutation.
    pub(crate) async fn change(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Answer, v1::LogStatus)> {
        self.propose(call.asker(), volume, action).await
    }

    pub(crate) async fn change_done(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<v1::DoneReply> {
        let (_, log) = self.change(call, volume, action).await?;
        Ok(v1::DoneReply { log: Some(log) })
    }

    /// A mutation that answers with the inode it made or changed.
    pub(crate) async fn change_inode(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<v1::InodeReply> {
        let (inode, log) = self.change_for_inode(call, volume, action).await?;
        let seen = self.seen(call, volume, &inode).await?;
        Ok(v1::InodeReply { log: Some(log), attributes: Some(encode::attributes(&seen)) })
    }

    pub(crate) async fn change_for_inode(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Inode, v1::LogStatus)> {
        let (answer, log) = self.change(call, volume, action).await?;
        Ok((inode_of(answer)?, log))
    }

    /// R6: a size that columns must know of gets an epoch, and the columns are sealed with it. A silent
    /// one does not fail it: it meets the epoch before it serves again.
    pub(crate) async fn resize(
        &self,
        call: &Call,
        volume: VolumeId,
        mut set: SetAttr,
        size: u64,
    ) -> Result<(Inode, v1::LogStatus)> {
        let mut refused = Error::Unavailable("the file changed too often".into());
        for _ in 0..TRIES_MAX {
            let before = self.inode(volume, set.ino)?;
            let epoch = match before.resize_needs_epoch(size) {
                true => Some(FileEpoch(self.number().await?)),
                false => None,
            };
            set.size = Some(Resize { size, epoch });
            let action = Action::SetAttr(set.clone());
            match self.change(call, volume, action).await {
                Ok((answer, log)) => {
                    let inode = inode_of(answer)?;
                    self.seal_cut(call, volume, &inode).await;
                    return Ok((inode, log));
                }
                Err(Error::Unavailable(why)) => {
                    refused = Error::Unavailable(why);
                    // Either data came meanwhile, or a dead writer's file waits for its settlement.
                    self.settle(volume, set.ino, call.left().min(OSD_DEADLINE_MAX)).await?;
                }
                Err(err) => return Err(err),
            }
        }
        Err(refused)
    }

    /// R6: after a cut, all columns learn of it. One that is silent does not fail the cut.
    pub(crate) async fn seal_cut(&self, call: &Call, volume: VolumeId, inode: &Inode) {
        if inode.floor == Floor::NONE {
            return;
        }
        let limit = call.left().min(SEAL_WAIT_MAX);
        if let Err(err) = self.settle(volume, inode.ino, limit).await {
            tracing::info!(%volume, ino = %inode.ino, %err, "a cut waits for a column");
            self.wake.settlement.notify_one();
        }
    }

    /// Closed or expired: what it wrote is settled by the worker (R4).
    pub(crate) async fn end_session(&self, session: SessionId) -> Result<v1::LogStatus> {
        let epoch = FileEpoch(self.number().await?);
        let end = Action::EndSession(EndSession { session, epoch });
        let (_, log) = self.propose(Asker::SERVICE, VolumeId(0), end).await?;
        self.clocks.forget(session);
        self.wake.settlement.notify_one();
        self.wake.deletion.notify_one();
        Ok(log)
    }

    /// Moves the atime as the volume's policy says. Nobody waits for more than the log, and nothing
    /// depends on it.
    pub(crate) async fn touch(&self, volume: VolumeId, ino: Ino) {
        let now = self.time.now();
        let moves = self.view(|view| {
            let volume = view.volume(volume)?;
            Ok(volume.atime_moves(&volume.inode(ino)?, now))
        });
        if !matches!(moves, Ok(true)) {
            return;
        }
        if let Err(err) = self.command(volume, Action::Read(Touch { ino })).await {
            tracing::debug!(%volume, %ino, %err, "the atime did not move");
        }
    }
}

// ---- Numbers.

impl Mrc {
    /// A number that nobody had before (P5).
    pub(crate) async fn number(&self) -> Result<u64> {
        loop {
            let (taken, low) = {
                let mut numbers = self.numbers.lock();
                (numbers.take(), numbers.is_low())
            };
            match taken {
                Some(number) if !low => return Ok(number),
                // One request in many pays for the next range, before anybody has to wait.
                Some(number) => {
                    if let Ok(_reserving) = self.reserving.try_lock() {
                        self.reserve().await?;
                    }
                    return Ok(number);
                }
                None => {
                    let _reserving = self.reserving.lock().await;
                    if self.numbers.lock().is_low() {
                        self.reserve().await?;
                    }
                }
            }
        }
    }

    pub(crate) async fn ino(&self) -> Result<Ino> {
        self.number().await.map(Ino)
    }

    async fn reserve(&self) -> Result<()> {
        let reserve = Reserve { count: RESERVE_COUNT, restart: false };
        match self.command(VolumeId(0), Action::Reserve(reserve)).await? {
            Answer::Reserved(range) => {
                self.numbers.lock().add(range);
                Ok(())
            }
            other => Err(Error::Internal(format!("a reservation answered {other:?}"))),
        }
    }
}

// ---- Files that are being written.

impl Mrc {
    /// What applications see of an inode: of a file that is being written, from its columns (R2).
    pub(crate) async fn seen(
        &self,
        call: &Call,
        volume: VolumeId,
        inode: &Inode,
    ) -> Result<Attributes> {
        let mut seen = self.seen_all(call, volume, &[inode]).await?;
        Ok(seen.pop().expect("one for each inode"))
    }

    /// The same of several, with one request to each target.
    pub(crate) async fn seen_all(
        &self,
        call: &Call,
        volume: VolumeId,
        inodes: &[&Inode],
    ) -> Result<Vec<Attributes>> {
        let written = inodes.iter().filter(|inode| inode.writing);
        let mut wanted = Vec::new();
        for layout in written.filter_map(|inode| inode.layout.as_ref()) {
            wanted.extend(self.placed_columns(volume, layout)?);
        }
        if wanted.is_empty() {
            return Ok(inodes.iter().map(|inode| inode.attributes()).collect());
        }
        let answers = self.osds.stat(wanted, call.left().min(OSD_DEADLINE_MAX)).await?;
        let seen = |inode: &&Inode| match &inode.layout {
            Some(layout) if inode.writing => {
                let columns = columns(volume, layout);
                let own: Vec<_> = columns.filter_map(|id| answers.get(&id).copied()).collect();
                inode.with_columns(&together(inode, layout, &own)).attributes()
            }
            _ => inode.attributes(),
        };
        Ok(inodes.iter().map(seen).collect())
    }

    /// Newest mtime of the columns of a file that is being written (R5).
    pub(crate) async fn columns_mtime(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
    ) -> Result<Option<Timestamp>> {
        let inode = self.inode(volume, ino)?;
        let Some(layout) = inode.layout.as_ref().filter(|_| inode.writing) else {
            return Ok(None);
        };
        let wanted = self.placed_columns(volume, layout)?;
        let answers = self.osds.stat(wanted, call.left().min(OSD_DEADLINE_MAX)).await?;
        let newest = answers.values().filter_map(|answer| answer.mtime).max();
        Ok(Some(newest.unwrap_or_default()))
    }

    /// Seals all columns with the file's epoch and floor, and ends what is pending with what they
    /// answer (R3, R4, R6). Whether nothing is pending afterwards.
    pub(crate) async fn settle(&self, volume: VolumeId, ino: Ino, limit: Duration) -> Result<bool> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let (inode, pending) = self.view(|view| {
                let volume = view.any_volume(volume)?;
                Ok((volume.inode(ino)?, volume.pending(ino)?))
            })?;
            let Some(layout) = &inode.layout else {
                return Ok(true);
            };
            let sets = self.sets_of(layout)?;
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let answers = self.osds.seal(volume, &inode, layout, &sets, left).await?;
            let fence = match pending.fence {
                true => Some(FileEpoch(self.number().await?)),
                false => None,
            };
            let settle = Settle {
                ino,
                file_epoch: inode.file_epoch,
                round: inode.round,
                sealed: true,
                columns: Some(together(&inode, layout, &answers)),
                fence,
            };
            match self.command(volume, Action::Settle(settle)).await? {
                // The cut has reached all columns; now they are to be sealed against the dead writer.
                Answer::Settled(false) if pending.fence => {}
                Answer::Settled(all) => return Ok(all),
                other => return Err(Error::Internal(format!("a settlement answered {other:?}"))),
            }
        }
    }
}

// ---- Layouts and rights.

impl Mrc {
    pub(crate) fn sets_of(&self, layout: &Layout) -> Result<Vec<ReplicaSet>> {
        self.view(|view| layout.sets.iter().map(|&set| view.replica_set(set)).collect())
    }

    /// Columns of a layout with the targets that know them.
    pub(crate) fn placed_columns(
        &self,
        volume: VolumeId,
        layout: &Layout,
    ) -> Result<Vec<(TargetId, ColumnId)>> {
        let sets = self.sets_of(layout)?;
        let primary = |(column, set): (ColumnId, &ReplicaSet)| match set.members.first() {
            Some(primary) => Ok((primary.target, column)),
            None => Err(Error::Corrupt(format!("replica set {} has no member", set.id))),
        };
        columns(volume, layout).zip(&sets).map(primary).collect()
    }

    pub(crate) fn file_layout(&self, layout: &Layout) -> Result<v1::FileLayout> {
        Ok(v1::FileLayout {
            striping: Some(layout.striping.into()),
            data: layout.data.0,
            version: layout.version.0,
            sets: self.sets_of(layout)?.iter().map(encode::replica_set).collect(),
        })
    }

    pub(crate) fn grant(
        &self,
        session: SessionId,
        volume: VolumeId,
        inode: &Inode,
        layout: &Layout,
        write: bool,
    ) -> Result<v1::Grant> {
        let capability = Capability {
            volume,
            data: layout.data,
            version: layout.version,
            layout: layout.striping,
            rights: if write { Rights::ReadWrite } else { Rights::Read },
            file_epoch: inode.file_epoch,
            floor: inode.floor,
            session,
            expires: self.time.now().plus(GRANT_EXPIRY),
        };
        let keys = self.keys.borrow();
        let newest = keys.iter().max_by_key(|key| key.id).ok_or_else(|| {
            Error::Unavailable("the DIR has given this MRC no key yet to sign with".into())
        })?;
        Ok(v1::Grant {
            capability: capability.sign(newest).into(),
            file_epoch: inode.file_epoch.0,
            floor: inode.floor.0,
            valid_ms: u32::try_from(GRANT_EXPIRY.as_millis()).unwrap_or(u32::MAX),
            write,
        })
    }
}

// ---- What the DIR says.

impl Mrc {
    pub(crate) fn list(&self) -> Arc<ServiceList> {
        self.osds.list()
    }

    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let list = self.list();
        let candidate = |target: &xtfs_rpc::TargetRecord| Candidate {
            id: target.id,
            standing: standing(target.state),
            serves: target.alive && target.fault.is_none(),
            total_bytes: target.total_bytes,
            free_bytes: target.free_bytes,
            node: target.node.clone(),
        };
        list.targets.iter().map(candidate).collect()
    }

    /// As the DIR says now, so that a target counts as soon as it is listed; as it said last if it is away.
    pub(crate) async fn targets_registered(&self) -> usize {
        let fresh = self.directory.list(self.cluster, DIR_DEADLINE).await;
        let fresh = fresh.map_or_else(|_| self.list(), Arc::new);
        fresh.targets.iter().filter(|target| target.state != TargetState::Removed).count()
    }

    pub(crate) fn capacity(&self) -> Capacity {
        let list = self.list();
        let disk = |target: &xtfs_rpc::TargetRecord| Disk {
            standing: standing(target.state),
            serves: target.alive && target.fault.is_none(),
            total_bytes: target.total_bytes,
            used_bytes: target.used_bytes,
            free_bytes: target.free_bytes,
            filesystem: target.filesystem.clone().unwrap_or_default(),
        };
        capacity::capacity(&list.targets.iter().map(disk).collect::<Vec<_>>())
    }

    pub(crate) async fn claim_volume(&self, name: &str, limit: Duration) -> Result<VolumeId> {
        let claim = async |mut dir: xtfs_rpc::DirService, left| {
            let request = v1::ClaimVolumeRequest {
                header: Some(self.dir_header(left)),
                name: name.to_owned(),
                group: self.group.0,
            };
            dir.claim_volume(request).await
        };
        let reply = self.directory.call(limit, claim).await?;
        Ok(VolumeId(reply.id))
    }

    pub(crate) async fn release_volume(
        &self,
        name: &str,
        id: VolumeId,
        limit: Duration,
    ) -> Result<()> {
        let release = async |mut dir: xtfs_rpc::DirService, left| {
            let header = Some(self.dir_header(left));
            let request = v1::ReleaseVolumeRequest { header, name: name.to_owned(), id: id.0 };
            dir.release_volume(request).await
        };
        match self.directory.call(limit, release).await {
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(err) => Err(err),
        }
    }

    fn dir_header(&self, left: Duration) -> v1::RequestHeader {
        let header = Header::new(Some(self.cluster));
        Header { group: self.group, deadline: Some(left), ..header }.into()
    }
}

/// How much there is of what an operator asks about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sessions: u64,
    pub(crate) open_files: u64,
    pub(crate) deletions: u64,
    pub(crate) settlements: u64,
}

// ---- Health.

impl Mrc {
    /// Counts up to a bound: more of it says no more.
    pub(crate) fn counts(&self) -> Result<Counts> {
        const COUNTED_MAX: usize = 10_000;
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.view(|view| {
            let mut counts =
                Counts { sessions: number(view.sessions()?.len()), ..Counts::default() };
            for volume in view.volumes()? {
                let volume = view.any_volume(volume.id)?;
                counts.open_files += number(volume.open_files()?);
                counts.deletions += number(volume.orphans(Ino(0), COUNTED_MAX)?.len());
                counts.settlements += number(volume.all_pending(Ino(0), COUNTED_MAX)?.len());
            }
            Ok(counts)
        })
    }

    /// Free bytes on the disk of the data directory.
    pub(crate) fn free_bytes(&self) -> u64 {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(_) => 0,
        }
    }

    /// Why it does not serve changes, and the next step.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(fault) = self.log.fault() {
            return Some(format!("{fault}; see the log of xtfs-mrc and restart it"));
        }
        let free = self.free_bytes();
        (free < self.min_free_bytes).then(|| {
            format!(
                "{} has only {free} bytes free, changes are refused; free space there",
                self.data.display()
            )
        })
    }

    pub(crate) fn requests_at_work(&self) -> usize {
        self.slots_max.saturating_sub(self.slots.available_permits())
    }

    pub(crate) async fn keep_alive(
        &self,
        session: SessionId,
        message: &v1::SessionUp,
    ) -> Result<v1::SessionDown> {
        // A leader that has lost its group must not keep sessions alive.
        self.log.barrier().await?;
        let lost = !self.clocks.renew_known(session, Instant::now());
        Ok(v1::SessionDown { log: Some(self.log_status()), sequence: message.sequence, lost })
    }
}

pub(crate) fn columns(volume: VolumeId, layout: &Layout) -> impl Iterator<Item = ColumnId> + use<> {
    let (data, version) = (layout.data, layout.version);
    layout.striping.columns().map(move |index| ColumnId { volume, data, index, version })
}

fn inode_of(answer: Answer) -> Result<Inode> {
    match answer {
        Answer::Inode(inode) => Ok(*inode),
        other => Err(Error::Internal(format!("a change of an inode answered {other:?}"))),
    }
}

fn standing(state: TargetState) -> Standing {
    match state {
        TargetState::Online => Standing::Online,
        TargetState::Locked => Standing::Locked,
        TargetState::Draining => Standing::Draining,
        TargetState::Removed => Standing::Removed,
    }
}
