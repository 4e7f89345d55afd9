//! An open file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use xtfs_core::{Error, FileEpoch, Ino, Result, Timestamp};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, required};
use crate::file_state::FileState;
use crate::io::ColumnWritten;
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

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
}

/// One handle. `release` it; dropped without it, it is closed in the background.
#[derive(Debug)]
pub struct OpenFile {
    mount: Arc<Mount>,
    state: Arc<FileState>,
    flags: OpenFlags,
    /// A file that existed was emptied: closing it syncs, so that a power cut leaves no hole.
    emptied: bool,
    report: Mutex<Report>,
    /// Failures of the file that this handle has told.
    told: Mutex<u64>,
    released: AtomicBool,
}

/// What the handle wrote, rule R3.
#[derive(Clone, Debug, Default)]
struct Report {
    file_epoch: FileEpoch,
    end: u64,
    mtime: Timestamp,
    columns: BTreeMap<u16, (u64, u64)>,
    /// Parts of it were written under different epochs, or may have been written unseen.
    mixed: bool,
}

impl OpenFile {
    /// Of a reply to an open that was asked for at `asked`.
    pub(crate) fn new(
        mount: &Arc<Mount>,
        reply: v1::OpenReply,
        flags: OpenFlags,
        asked: Instant,
    ) -> Result<(Attributes, Arc<Self>)> {
        let attributes = required(reply.attributes)?;
        let state = mount.files.enter(attributes.ino, mount.mrc.session());
        state.opened(flags.write);
        let file = OpenFile {
            mount: mount.clone(),
            flags,
            emptied: flags.truncate && !reply.created,
            report: Mutex::default(),
            told: Mutex::new(state.failures()),
            released: AtomicBool::new(false),
            state,
        };
        file.state.grant(reply.layout, reply.grant, asked)?;
        if flags.truncate
            && let Some(rights) = file.state.last_rights()
        {
            let epoch = Some(rights.grant.file_epoch);
            mount.syncer.cut(&rights.layout, mount.mrc.volume, 0, epoch);
        }
        Ok((attributes, Arc::new(file)))
    }

    pub fn ino(&self) -> Ino {
        self.state.ino
    }

    /// At most `len` bytes from `offset`; fewer only at the end of the file.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        self.mount.read(&self.state, offset, len).await
    }

    /// All of `data`; on return every later read anywhere sees it. Of a file opened with `append`
    /// it goes to the end.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        if self.flags.append {
            return self.append(data).await.map(|_| ());
        }
        self.write_at(offset, data).await
    }

    /// Writes at the end of the file, whatever the flags; returns where.
    pub async fn append(&self, data: Bytes) -> Result<u64> {
        let deadline = self.mount.deadline();
        let _alone = tokio::time::timeout_at(deadline, self.state.appending.lock())
            .await
            .map_err(|_| Error::Deadline("another append".into()))?;
        let end = self.mount.size(&self.state, deadline).await?;
        self.write_at(end, data).await?;
        Ok(end)
    }

    async fn write_at(&self, offset: u64, mut data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let mut at = offset;
        while !data.is_empty() {
            let part = data.split_to(data.len().min(WRITE_BYTES_MAX));
            let mtime = self.mount.mrc.now();
            let written = self.mount.write(&self.state, at, &part, mtime).await;
            let end = at.saturating_add(part.len() as u64);
            match written {
                Ok(columns) => self.report.lock().add(end, mtime, &columns),
                Err(err) => {
                    // Some columns may have it: the MRC has to ask them.
                    self.report.lock().mixed = true;
                    return Err(err);
                }
            }
            at = end;
        }
        if self.flags.sync { self.fsync(true).await } else { Ok(()) }
    }

    /// What was written through any handle of this inode, and all metadata, survives a power cut
    /// on return. An error that happened in the background since the last call is reported once.
    pub async fn fsync(&self, datasync: bool) -> Result<()> {
        let deadline = self.mount.deadline();
        let synced = self.mount.sync_file(&self.state, deadline).await;
        self.check()?;
        synced?;
        // Size and times come from the columns while the file is open for writing, and that it is
        // open is on disk if everything is that the MRC answered.
        if self.mount.mrc.all_durable() {
            return Ok(());
        }
        let report = if datasync { None } else { self.report.lock().to_wire() };
        let request = v1::SyncMetadataRequest {
            header: None,
            volume: self.mount.mrc.volume.0,
            ino: if datasync { 0 } else { self.ino().0 },
            report,
        };
        let done = self.mount.mrc.change_until::<method::SyncMetadata>(&ITSELF, request, deadline);
        done.await.map(|_| ())
    }

    /// At every close(2): reports errors that happened in the background.
    pub async fn flush(&self) -> Result<()> {
        if self.emptied && self.report.lock().is_some() {
            self.mount.sync_file(&self.state, self.mount.deadline()).await?;
        }
        self.check()
    }

    /// The last use of the handle. It is closed in the background; waits only if very many are.
    pub async fn release(&self) -> Result<()> {
        if self.released.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let room = self.mount.closing_room.clone().acquire_owned().await;
        let close = self.close();
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
        let (volume, ino) = (self.mount.mrc.volume.0, self.ino().0);
        let request = v1::InodeRequest { header: None, volume, ino };
        required(self.mount.mrc.ask::<method::GetAttr>(caller, request).await?.attributes)
    }

    fn check(&self) -> Result<()> {
        self.state.check()?;
        self.state.failure_since(&mut self.told.lock())
    }

    /// Tells the MRC, whatever becomes of the handle.
    fn close(&self) -> impl Future<Output = ()> + use<> {
        let (mount, state) = (self.mount.clone(), self.state.clone());
        let write = self.flags.write;
        let report = self.report.lock().to_wire();
        // Before the MRC knows: from now on nobody asks for a right to write because of it.
        state.closed(write);
        async move {
            let lost = mount.mrc.session() != state.session;
            if !lost {
                let request = v1::CloseRequest {
                    header: None,
                    volume: mount.mrc.volume.0,
                    ino: state.ino.0,
                    write,
                    report,
                };
                let closed = mount.mrc.change::<method::Close>(&ITSELF, request);
                if let Err(err) = closed.await {
                    tracing::warn!(ino = %state.ino, %err, "close a file at the MRC");
                }
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !*self.released.get_mut() {
            let close = self.close();
            self.mount.closing.spawn_on(close, &self.mount.runtime);
        }
    }
}

impl Report {
    fn add(&mut self, end: u64, mtime: Timestamp, columns: &[ColumnWritten]) {
        for written in columns {
            if self.columns.is_empty() {
                self.file_epoch = written.file_epoch;
            }
            self.mixed |= self.file_epoch != written.file_epoch;
            let column = self.columns.entry(written.column.0).or_default();
            // Answers may have overtaken each other.
            column.0 = column.0.max(written.length);
            column.1 = column.1.max(written.allocated);
        }
        self.end = self.end.max(end);
        self.mtime = self.mtime.max(mtime);
    }

    fn is_some(&self) -> bool {
        self.mixed || !self.columns.is_empty()
    }

    fn to_wire(&self) -> Option<v1::WriteReport> {
        if !self.is_some() {
            return None;
        }
        let columns = self.columns.iter().map(|(index, (length, allocated))| v1::ColumnReport {
            index: (*index).into(),
            length: *length,
            allocated: *allocated,
        });
        Some(v1::WriteReport {
            // No epoch is zero: such a report is not trusted, and the columns are asked.
            file_epoch: if self.mixed { 0 } else { self.file_epoch.0 },
            end: self.end,
            mtime_ns: self.mtime.0,
            columns: columns.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::ColumnIndex;

    fn written(file_epoch: u64) -> ColumnWritten {
        let file_epoch = FileEpoch(file_epoch);
        ColumnWritten { column: ColumnIndex(0), length: 10, allocated: 4096, file_epoch }
    }

    #[test]
    fn r3_a_report_over_two_epochs_is_not_to_be_trusted() {
        let mut report = Report::default();
        assert_eq!(report.to_wire(), None);
        report.add(10, Timestamp(5), &[written(3)]);
        report.add(8, Timestamp(4), &[written(3)]);
        let wire = report.to_wire().unwrap();
        assert_eq!((wire.file_epoch, wire.end, wire.mtime_ns), (3, 10, 5));
        report.add(20, Timestamp(6), &[written(4)]);
        assert_eq!(report.to_wire().unwrap().file_epoch, 0);
    }
}
