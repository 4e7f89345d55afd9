//! An open file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use xtfs_core::{FileEpoch, Ino, Result, Timestamp};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, required};
use crate::cache::ReadRight;
use crate::closes::GATHER;
use crate::file_state::FileState;
use crate::io::{ColumnWritten, Repeat};
use crate::local_open::LocalOpens;
use crate::locks::{LockedThrough, Releasing};
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;
use crate::report::Report;

/// Longer writes are done part by part.
const WRITE_BYTES_MAX: usize = 16 << 20;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    /// `O_APPEND`: `write` ignores its offset.
    pub append: bool,
    /// `O_TRUNC`.
    pub truncate: bool,
    /// `O_EXCL`; of create only.
    pub exclusive: bool,
    /// Opened to be executed: x instead of r is asked for.
    pub execute: bool,
    /// `O_SYNC`, `O_DSYNC`: a write returns when it is on disk.
    pub sync: bool,
    /// `O_DIRECT`: a write returns when the OSDs have it.
    pub direct: bool,
}

/// One handle. `release` it; dropped without it, it is closed in the background.
#[derive(Debug)]
pub struct OpenFile {
    mount: Arc<Mount>,
    state: Arc<FileState>,
    flags: OpenFlags,
    /// Opened without the MRC.
    local: bool,
    /// A file that existed was emptied: closing it syncs, so that a power cut leaves no hole.
    emptied: bool,
    /// What this handle wrote.
    report: Mutex<Report>,
    /// Failures of the file that this handle has told.
    told: Mutex<u64>,
    locked_through: LockedThrough,
    released: AtomicBool,
}

impl OpenFile {
    /// Of a reply to an open that was asked for at `asked`.
    pub(crate) fn new(
        mount: &Arc<Mount>,
        reply: v1::OpenReply,
        flags: OpenFlags,
        asked: Instant,
    ) -> Result<(Attributes, Arc<Self>)> {
        let mut attributes = required(reply.attributes)?;
        mount.cache.with(|table| table.add_kept_back(&mut attributes));
        let state = mount.files.enter(attributes.ino, mount.mrc.session());
        state.opened(flags.write);
        let mut file = Self::of(mount, state, flags);
        file.emptied = flags.truncate && !reply.created;
        if let Some(err) = mount.write_behind.take_untold(file.ino()) {
            file.state.fail(err);
        }
        file.state.set_ids.squash_root(reply.root_squash);
        file.state.set_ids.saw(&attributes);
        if let (Some(layout), Some(grant)) = (reply.layout.clone(), reply.grant.clone()) {
            let right = ReadRight { layout, grant, given: asked };
            mount.cache.with(|table| table.learn_right(attributes.ino, right));
        }
        file.state.grant(reply.layout, reply.grant, asked)?;
        if flags.truncate
            && let Some(rights) = file.state.last_rights()
        {
            let epoch = Some(rights.grant.file_epoch);
            mount.syncer.cut(&rights.layout, mount.mrc.volume, 0, epoch);
        }
        Ok((attributes, Arc::new(file)))
    }

    /// Without the MRC, which keeps the lease under which these attributes are known.
    pub(crate) fn local(
        mount: &Arc<Mount>,
        attributes: &Attributes,
        right: Option<ReadRight>,
        flags: OpenFlags,
    ) -> Option<Arc<Self>> {
        let (session, _) = mount.cache.of();
        let state = mount.files.enter(attributes.ino, session);
        mount.local_handles.fetch_add(1, Ordering::AcqRel);
        state.opened(false);
        state.local_opens(LocalOpens::opened);
        state.set_ids.saw(attributes);
        if let Some(right) = right
            && let Err(err) = state.grant(Some(right.layout), Some(right.grant), right.given)
        {
            // The MRC is asked for a better one when it is needed.
            tracing::warn!(ino = %attributes.ino, %err, "a right to read that makes no sense");
        }
        let mut file = Self::of(mount, state, flags);
        file.local = true;
        let file = Arc::new(file);
        // A recall that came meanwhile, or a change of ours that takes the name away, has not seen it.
        let ino = attributes.ino;
        let kept =
            mount.kept(|table| table.kept(ino).filter(|_| !table.is_changing(ino)).map(drop));
        kept.map(|()| file)
    }

    /// A handle that the MRC knows of, of a file that is as it was.
    fn of(mount: &Arc<Mount>, state: Arc<FileState>, flags: OpenFlags) -> Self {
        OpenFile {
            mount: mount.clone(),
            flags,
            local: false,
            emptied: false,
            report: Mutex::default(),
            told: Mutex::new(state.failures_told()),
            locked_through: LockedThrough::default(),
            released: AtomicBool::new(false),
            state,
        }
    }

    pub fn ino(&self) -> Ino {
        self.state.ino
    }

    /// Whether a close of the handle has nothing to wait for and nothing to tell anybody. A close by a process drops what it
    /// has locked of the file through whatever handle.
    pub fn is_idle(&self) -> bool {
        self.local
            && self.state.locks.are_none()
            && !self.state.local_opens(|local| local.is_registered())
    }

    /// At most `len` bytes from `offset`; fewer only at the end of the file.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        self.locks_hold().await?;
        self.flush_kept().await?;
        let data = self.mount.read(&self.state, offset, len).await?;
        // Not what was there when the lock was somebody else's already.
        self.locks_hold().await?;
        Ok(data)
    }

    /// All of `data`; on return every later read anywhere sees it. Of a file opened with `append`
    /// it goes to the end.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        self.locks_hold().await?;
        if self.flags.append {
            return self.append(data).await.map(|_| ());
        }
        let may_wait = !self.flags.sync && !self.flags.direct;
        if may_wait && self.mount.keep_back(&self.state, offset, &data) {
            return Ok(());
        }
        self.write_at(offset, data).await
    }

    /// Returns when what was kept back of the file is written: before the columns are asked or changed.
    pub(crate) async fn flush_kept(&self) -> Result<()> {
        self.mount.flush(&self.state, self.mount.deadline()).await
    }

    pub(crate) async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        self.write_under(offset, data, None).await
    }

    /// `only_epoch`: the file must not have been cut since it had this one.
    pub(crate) async fn write_under(
        &self,
        offset: u64,
        mut data: Bytes,
        only_epoch: Option<FileEpoch>,
    ) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        // It may lie under this.
        self.flush_kept().await?;
        let mut at = offset;
        while !data.is_empty() {
            let part = data.split_to(data.len().min(WRITE_BYTES_MAX));
            let mtime = self.mount.mrc.now();
            let once = Repeat { mtime, only_epoch };
            let deadline = self.mount.deadline();
            let written = self.mount.write(&self.state, at, &part, once, deadline).await;
            let end = at.saturating_add(part.len() as u64);
            self.report_written(end, mtime, written.as_deref().map_err(Clone::clone));
            written?;
            at = end;
        }
        if self.flags.sync { self.fsync(true).await } else { Ok(()) }
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.flags.sync
    }

    /// Takes in what columns answered to a change.
    pub(crate) fn report_written(
        &self,
        end: u64,
        mtime: Timestamp,
        written: Result<&[ColumnWritten]>,
    ) {
        match written {
            Ok(columns) => {
                self.mount.report_written(&self.state, &self.report, (end, mtime), columns);
            }
            Err(_) => self.report_doubt(),
        }
    }

    /// The columns know more than what they have answered.
    pub(crate) fn report_doubt(&self) {
        self.mount.report_doubt(&self.state, &self.report);
    }

    pub(crate) fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    pub(crate) fn state(&self) -> &Arc<FileState> {
        &self.state
    }

    pub(crate) async fn size(&self) -> Result<u64> {
        self.mount.size(&self.state, self.mount.deadline()).await
    }

    /// What was written through any handle of this inode, and all metadata, survives a power cut
    /// on return. An error that happened in the background since the last call is reported once.
    pub async fn fsync(&self, datasync: bool) -> Result<()> {
        let deadline = self.mount.deadline();
        self.mount.flush(&self.state, deadline).await?;
        let synced = self.mount.sync_file(&self.state, deadline).await;
        self.check()?;
        synced?;
        // Size and times come from the columns while the file is open for writing, and that it is
        // open is on disk if everything is that the MRC answered.
        if self.mount.mrc.all_durable() {
            return Ok(());
        }
        // To another session it is not open; what was written the MRC asks the columns.
        let tells = !datasync && self.mount.mrc.session() == self.state.session;
        let request = v1::SyncMetadataRequest {
            header: None,
            volume: self.mount.mrc.volume.0,
            ino: if tells { self.ino().0 } else { 0 },
            report: if tells { self.whole_report().to_wire() } else { None },
        };
        let done = self.mount.mrc.change_until::<method::SyncMetadata>(&ITSELF, request, deadline);
        done.await.map(|_| ())
    }

    /// At every close(2): reports errors that happened in the background.
    pub async fn flush(&self) -> Result<()> {
        let is_kept = self.mount.write_behind.holds_file(self.ino());
        if self.emptied && (is_kept || self.state.report.lock().is_some()) {
            self.flush_kept().await?;
            self.mount.sync_closed(&self.state).await?;
        } else if is_kept && !self.mount.is_reached(&self.state) {
            // It is likely to fail, which somebody should hear.
            self.flush_kept().await?;
        }
        // Also a process that starts another closes the file there: it is told as well.
        let mut told = *self.told.lock();
        self.check_since(&mut told)
    }

    /// What this handle wrote, and what was written for all.
    fn whole_report(&self) -> Report {
        let mut report = self.report.lock().clone();
        // It stays for a close, which surely arrives.
        report.merge(self.state.flushed.lock().clone());
        report
    }

    /// The last use of the handle. From the call on, not just from its first poll, new locks wait for those that were
    /// taken through it. It is closed in the background; waits only if very many are.
    pub fn release(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let file = self.clone();
        let first = !file.released.swap(true, Ordering::Relaxed);
        let releasing = if first { file.releasing() } else { None };
        async move { if first { file.release_once(releasing).await } else { Ok(()) } }
    }

    async fn release_once(&self, releasing: Option<Releasing>) -> Result<()> {
        if let Some(releasing) = releasing {
            self.give_back(releasing).await;
        }
        let Some(close) = self.close() else { return Ok(()) };
        let room = self.mount.closing_room.clone().acquire_owned().await;
        self.mount.closing.spawn_on(
            async move {
                let _room = room;
                close.await;
            },
            &self.mount.runtime,
        );
        Ok(())
    }

    pub async fn attributes(&self, caller: &Caller) -> Result<Attributes> {
        self.mount.getattr(caller, self.ino(), Some(&self.state), self.mount.deadline()).await
    }

    pub(crate) fn locked_through(&self) -> &LockedThrough {
        &self.locked_through
    }

    fn check(&self) -> Result<()> {
        self.check_since(&mut self.told.lock())
    }

    /// Failures after those that were told.
    fn check_since(&self, told: &mut u64) -> Result<()> {
        self.check_locks()?;
        self.state.check()?;
        self.state.failure_since(told)
    }

    /// Tells the MRC if it knows of the handle, whatever becomes of that.
    fn close(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let (mount, state, local) = (self.mount.clone(), self.state.clone(), self.local);
        state.released();
        if let Some(err) = state.take_untold() {
            mount.write_behind.keep_untold(state.ino, err);
        }
        if local {
            mount.local_handles.fetch_sub(1, Ordering::AcqRel);
            if !state.local_opens(LocalOpens::closed) {
                return None;
            }
        }
        let write = self.flags.write;
        let mut report = self.report.lock().clone();
        Some(async move {
            if local {
                return mount.tell_closed(&state).await;
            }
            if write && mount.write_behind.holds_file(state.ino) {
                // With what others have closed meanwhile.
                sleep(GATHER).await;
                mount.flush_surely(state.ino).await;
            }
            if write {
                report.merge(std::mem::take(&mut state.flushed.lock()));
            }
            // Before the MRC knows: from now on nobody asks for a right to write because of it, or keeps a write back.
            state.closed(write);
            if write && !state.has_writers() {
                mount.cache.with(|table| table.share(state.ino));
            }
            // The last close for writing ends a turn to append: not before the MRC knows what became of the append.
            let turn = timeout_at(mount.deadline(), state.appending.lock()).await;
            let turn = turn.ok().filter(|turn| write && turn.begun.is_some());
            let lost = mount.mrc.session() != state.session;
            if !lost {
                let report = report.to_wire();
                let closed = v1::Closed { ino: state.ino.0, write, report };
                if mount.tell_closed_with_others(&state, closed).await
                    && let Some(mut turn) = turn
                    && !state.has_writers()
                {
                    turn.begun = None;
                }
            }
            if write && !state.has_writers() {
                mount.cache.with(|table| table.trust(state.ino));
            }
        })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !*self.released.get_mut()
            && let Some(close) = self.close()
        {
            self.mount.closing.spawn_on(close, &self.mount.runtime);
        }
    }
}
