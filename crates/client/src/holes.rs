//! Holes and room in open files, and where data is.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use xtfs_core::{BootNumber, ByteRange, ColumnIndex, Error, FILE_SIZE_MAX, Result, Timestamp};
use xtfs_proto::v1::IoKind;

use crate::file::OpenFile;
use crate::file_state::FileState;
use crate::io::{ColumnRequest, ColumnWritten, Repeat};
use crate::mount::Mount;
use crate::seek::{self, Runs, Seek};
use crate::syncer::WRITTEN_OVERHEAD;
use crate::unsynced::{Span, SpanChange, Written};

/// Bytes of the file that are punched at once.
const PUNCH_STEP: u64 = 1 << 30;

/// fallocate(2), without the modes that move data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reshape {
    /// Takes room for what will be written.
    Allocate { keep_size: bool },
    /// `FALLOC_FL_PUNCH_HOLE`: the size stays.
    Punch,
    /// `FALLOC_FL_ZERO_RANGE`.
    Zero { keep_size: bool },
}

impl OpenFile {
    /// fallocate(2) of a range that is not empty.
    pub async fn reshape(&self, reshape: Reshape, offset: u64, len: u64) -> Result<()> {
        let range = ByteRange::new(offset, len)
            .filter(|range| range.end() <= FILE_SIZE_MAX)
            .ok_or(Error::FileTooLarge)?;
        if range.is_empty() {
            return Err(Error::Invalid("a range of no bytes".into()));
        }
        self.flush_kept().await?;
        match reshape {
            Reshape::Allocate { keep_size } => {
                // Whether there is room shows before the size changes.
                self.change_range(SpanChange::Allocate, true, range).await?;
                if !keep_size {
                    self.change_range(SpanChange::Allocate, false, range).await?;
                }
            }
            Reshape::Punch => self.change_steps(true, range).await?,
            Reshape::Zero { keep_size } => self.change_steps(keep_size, range).await?,
        }
        if self.is_sync() { self.fsync(true).await } else { Ok(()) }
    }

    /// Makes a hole step by step: each is one request to a column, which serves nothing else meanwhile.
    async fn change_steps(&self, keep_length: bool, range: ByteRange) -> Result<()> {
        let size = self.size().await?;
        let mut at = range.start();
        // Beyond the end there is nothing to punch, and one step makes the size.
        while at < range.end() {
            let end = if at < size { range.end().min(at + PUNCH_STEP) } else { range.end() };
            self.change_range(SpanChange::Punch, keep_length, ByteRange::between(at, end)).await?;
            at = end;
        }
        Ok(())
    }

    async fn change_range(&self, change: SpanChange, keep: bool, range: ByteRange) -> Result<()> {
        self.locks_hold().await?;
        let mount = self.mount();
        // Room that is taken changes nothing that anyone reads.
        let mtime = match (change, keep) {
            (SpanChange::Allocate, true) => Timestamp(0),
            _ => mount.mrc.now(),
        };
        let changed = mount.change_file(self.state(), change, keep, range, mtime).await;
        let end = if keep { 0 } else { range.end() };
        self.report_written(end, mtime, changed.as_deref().map_err(Clone::clone));
        // What columns occupy may have become less, which no report says.
        if change == SpanChange::Punch || keep {
            self.report_doubt();
        }
        changed.map(|_| ())
    }

    /// Where data or a hole begins, from `offset` on. `None`: `offset` is not in the file, or no data follows.
    pub async fn seek(&self, offset: u64, to: Seek) -> Result<Option<u64>> {
        self.locks_hold().await?;
        self.flush_kept().await?;
        let found = self.mount().seek(self.state(), offset, to).await?;
        // As a read: not what was there when the lock was somebody else's already.
        self.locks_hold().await?;
        Ok(found)
    }

    /// The part of `range` that is data, as far as one look shows: up to the first hole after it. `None`: all is hole.
    pub(crate) async fn first_data(&self, range: ByteRange) -> Result<Option<ByteRange>> {
        let Some(data) = self.seek(range.start(), Seek::Data).await? else { return Ok(None) };
        if data >= range.end() {
            return Ok(None);
        }
        // If the data has just been punched or cut, one block is looked at as if it were still there.
        let least = (data + 1).min(range.end());
        let hole = self.seek(data, Seek::Hole).await?.unwrap_or(least);
        Ok(Some(ByteRange::between(data, hole.clamp(least, range.end()))))
    }
}

impl Mount {
    /// Changes `range` of all columns.
    async fn change_file(
        &self,
        file: &Arc<FileState>,
        change: SpanChange,
        keep_length: bool,
        range: ByteRange,
        mtime: Timestamp,
    ) -> Result<Vec<ColumnWritten>> {
        file.check()?;
        let deadline = self.deadline();
        let rights = self.rights(file, true, deadline).await?.ok_or(Error::StaleHandle)?;
        let striping = rights.layout.striping;
        let spans: Vec<_> = striping
            .columns()
            .map(|index| (index, striping.column_range(range, index)))
            .filter(|(_, span)| !span.is_empty())
            .collect();
        // Before anything is held that making room may need.
        let mut room = self.syncer.room(spans.len() * WRITTEN_OVERHEAD, deadline).await?;
        // Alone: sent again after a restart of an OSD, writes and holes come in the order in which they are kept.
        let _alone = file.alone(deadline).await?;
        let changes = spans.into_iter().map(|(index, range)| {
            let permit = room.split(WRITTEN_OVERHEAD).expect("the room is for all spans");
            let span = Span { change, length: range.len(), keep_length };
            let once = Repeat { mtime, only_epoch: None };
            self.change_span(file, (index, range.start()), span, once, permit, deadline)
        });
        join_all(changes).await.into_iter().collect()
    }

    /// Changes one column and remembers it until it is synced.
    pub(crate) async fn change_span(
        &self,
        file: &Arc<FileState>,
        (index, offset): (ColumnIndex, u64),
        span: Span,
        Repeat { mtime, only_epoch }: Repeat,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<ColumnWritten> {
        let kind = match span.change {
            SpanChange::Punch => IoKind::Punch,
            SpanChange::Allocate => IoKind::Allocate,
        };
        let request = ColumnRequest {
            index,
            kind,
            range: ByteRange::new(offset, span.length).ok_or(Error::FileTooLarge)?,
            keep_length: span.keep_length,
            data: Bytes::new(),
            sums: &[],
            mtime,
            only_epoch,
        };
        let (reply, rights) = self.column_io(file, request, deadline).await?;
        let file_epoch = rights.grant.file_epoch;
        let boot = BootNumber(reply.boot);
        let at = (rights.layout.set(index).primary(), self.column(&rights, index));
        let data = Bytes::new();
        let written = Written { offset, data, span: Some(span), mtime, file_epoch, boot, permit };
        self.syncer.add(at, file, written);
        let (length, allocated) = (reply.column_length, reply.allocated);
        Ok(ColumnWritten { column: index, length, allocated, file_epoch })
    }

    async fn seek(&self, file: &FileState, offset: u64, to: Seek) -> Result<Option<u64>> {
        file.check()?;
        let deadline = self.deadline();
        let size = self.size(file, deadline).await?;
        if offset >= size {
            return Ok(None);
        }
        let Some(rights) = self.rights(file, false, deadline).await? else {
            // A file without columns is one hole.
            return Ok((to == Seek::Hole).then_some(offset));
        };
        let striping = rights.layout.striping;
        let asked = striping.columns().map(|index| async move {
            let start = striping.column_len(offset, index);
            let request = ColumnRequest {
                index,
                kind: IoKind::NextData,
                range: ByteRange::between(start, start),
                keep_length: true,
                data: Bytes::new(),
                sums: &[],
                mtime: Timestamp(0),
                only_epoch: None,
            };
            let (reply, _) = self.column_io(file, request, deadline).await?;
            Ok::<_, Error>(ByteRange::between(reply.data_start, reply.data_end))
        });
        let runs: Runs = try_join_all(asked).await?;
        Ok(seek::seek(striping, &runs, offset, size, to))
    }
}
