//! Reads and writes of ranges of a file: all columns at once, each asked again by the one rule.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use xtfs_core::{
    BootNumber, ByteRange, ColumnId, ColumnIndex, Error, FILE_SIZE_MAX, FileEpoch, Result,
    Timestamp, checksum,
};
use xtfs_proto::v1::{IoKind, IoReply, IoRequest};

use crate::file_state::{FileState, Rights};
use crate::mount::Mount;
use crate::report::Report;
use crate::retry::Remedy;
use crate::stripes::{Chunk, Fetched, chunks};
use crate::syncer::WRITTEN_OVERHEAD;
use crate::unsynced::Written;

/// What a column answered to a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnWritten {
    pub(crate) column: ColumnIndex,
    pub(crate) length: u64,
    pub(crate) allocated: u64,
    pub(crate) file_epoch: FileEpoch,
}

/// What a write that is repeated takes over from the first time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    pub(crate) mtime: Timestamp,
    /// Data of an older epoch must not be written under a newer one.
    pub(crate) only_epoch: Option<FileEpoch>,
}

/// A request to one column, made anew for each attempt.
pub(crate) struct ColumnRequest<'a> {
    pub(crate) index: ColumnIndex,
    pub(crate) kind: IoKind,
    pub(crate) range: ByteRange,
    /// Of a span.
    pub(crate) keep_length: bool,
    pub(crate) data: Bytes,
    pub(crate) sums: &'a [u32],
    pub(crate) mtime: Timestamp,
    pub(crate) only_epoch: Option<FileEpoch>,
}

impl Mount {
    /// Fewer bytes than asked only at the end of the file.
    pub(crate) async fn read(
        self: &Arc<Self>,
        file: &Arc<FileState>,
        offset: u64,
        len: u32,
    ) -> Result<Bytes> {
        file.check()?;
        let deadline = self.deadline();
        let end = offset.saturating_add(u64::from(len)).min(FILE_SIZE_MAX);
        let range = ByteRange::between(offset, end);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let Some(rights) = self.rights(file, false, deadline).await? else {
            return Ok(zeros_up_to(self.size(file, deadline).await?, range));
        };
        let cut = chunks(rights.layout.striping, range);
        let reads = cut.iter().map(|chunk| self.read_chunk(file, chunk, deadline));
        let mut fetched = try_join_all(reads).await?;
        if !cut.iter().zip(&fetched).any(|(chunk, fetched)| chunk.is_short(fetched)) {
            return Ok(assemble(&cut, &fetched, range));
        }
        // A hole, or the end of the file: the size tells. What lies below it is read once more, as
        // it may have been written between the two; until both are of one moment.
        let mut size = self.size(file, deadline).await?;
        loop {
            let is_missing = |chunk: &Chunk, fetched: &Fetched| {
                chunk.first_missing(fetched).is_some_and(|at| range.start() + at < size)
            };
            if !cut.iter().zip(&fetched).any(|(chunk, fetched)| is_missing(chunk, fetched)) {
                break;
            }
            // The size counts what is kept back, too.
            self.flush(file, deadline).await?;
            let again = cut.iter().map(|chunk| self.read_chunk(file, chunk, deadline));
            fetched = try_join_all(again).await?;
            let before = std::mem::replace(&mut size, self.size(file, deadline).await?);
            if size == before {
                break;
            }
        }
        let range_end = size.clamp(range.start(), range.end());
        let len = usize::try_from(range_end - range.start()).expect("at most what was asked");
        Ok(assemble(&cut, &fetched, range).slice(..len))
    }

    async fn read_chunk(
        &self,
        file: &FileState,
        chunk: &Chunk,
        deadline: Instant,
    ) -> Result<Fetched> {
        let range = chunk.aligned();
        let request = || ColumnRequest {
            index: chunk.column,
            kind: IoKind::Read,
            range,
            keep_length: true,
            data: Bytes::new(),
            sums: &[],
            mtime: Timestamp(0),
            only_epoch: None,
        };
        let (reply, _) = self.column_io(file, request(), deadline).await?;
        match Fetched::check(range, reply) {
            // Damaged on the way, perhaps: the OSD checks what it reads.
            Err(err) => {
                tracing::warn!(ino = %file.ino, column = chunk.column.0, %err, "reading again");
                let (reply, _) = self.column_io(file, request(), deadline).await?;
                Fetched::check(range, reply)
            }
            fetched => fetched,
        }
    }

    /// Writes all of `data`. The columns' answers are in no order.
    pub(crate) async fn write(
        &self,
        file: &Arc<FileState>,
        offset: u64,
        data: &Bytes,
        again: Repeat,
        deadline: Instant,
    ) -> Result<Vec<ColumnWritten>> {
        file.check()?;
        let range = ByteRange::new(offset, data.len() as u64);
        let range = range.filter(|range| range.end() <= FILE_SIZE_MAX);
        let range = range.ok_or(Error::FileTooLarge)?;
        let rights = self.rights(file, true, deadline).await?;
        let rights = rights.ok_or_else(|| {
            Error::Internal(format!("inode {} is open for writing without a layout", file.ino))
        })?;
        let cut = chunks(rights.layout.striping, range);
        // Before anything is held that making room may need.
        let mut room =
            self.syncer.room(data.len() + cut.len() * WRITTEN_OVERHEAD, deadline).await?;
        let _writing = tokio::time::timeout_at(deadline, file.writing.read())
            .await
            .map_err(|_| Error::Deadline(format!("inode {} is being cut", file.ino)))?;
        let writes = cut.iter().map(|chunk| {
            let piece = chunk.gather(data);
            let permit = room.split(piece.len() + WRITTEN_OVERHEAD);
            let permit = permit.expect("the room is for all chunks");
            self.write_column(
                file,
                (chunk.column, chunk.range.start()),
                piece,
                again,
                permit,
                deadline,
            )
        });
        // All are waited for: none may be on its way when the caller goes on.
        join_all(writes).await.into_iter().collect()
    }

    /// Columns have answered a change of the file, which `own` reports as well.
    pub(crate) fn report_written(
        &self,
        file: &FileState,
        own: &Mutex<Report>,
        (end, mtime): (u64, Timestamp),
        columns: &[ColumnWritten],
    ) {
        for report in [&file.report, own] {
            report.lock().add(end, mtime, columns);
        }
        self.cache.wrote(file.ino, end, (mtime, self.mrc.now()), columns);
    }

    /// Columns may know more than what they have answered.
    pub(crate) fn report_doubt(&self, file: &FileState, own: &Mutex<Report>) {
        for report in [&file.report, own] {
            report.lock().doubt();
        }
        self.cache.with(|table| table.doubt(file.ino));
    }

    /// Writes to one column and remembers it until it is synced.
    pub(crate) async fn write_column(
        &self,
        file: &Arc<FileState>,
        (index, offset): (ColumnIndex, u64),
        data: Bytes,
        Repeat { mtime, only_epoch }: Repeat,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<ColumnWritten> {
        let sums = checksum::piece_sums(offset, &data);
        let request = ColumnRequest {
            index,
            kind: IoKind::Write,
            range: ByteRange::between(offset, offset + data.len() as u64),
            keep_length: false,
            data: data.clone(),
            sums: &sums,
            mtime,
            only_epoch,
        };
        let (reply, rights) = self.column_io(file, request, deadline).await?;
        let file_epoch = rights.grant.file_epoch;
        let boot = BootNumber(reply.boot);
        let column = self.column(&rights, index);
        let target = rights.layout.set(index).primary();
        let written = Written { offset, data, span: None, mtime, file_epoch, boot, permit };
        self.syncer.add((target, column), file, written);
        let (length, allocated) = (reply.column_length, reply.allocated);
        Ok(ColumnWritten { column: index, length, allocated, file_epoch })
    }

    pub(crate) async fn column_io(
        &self,
        file: &FileState,
        request: ColumnRequest<'_>,
        deadline: Instant,
    ) -> Result<(IoReply, Rights)> {
        let write = !matches!(request.kind, IoKind::Read | IoKind::NextData);
        let mut retry = Mount::retry(deadline);
        loop {
            let rights = self.rights(file, write, deadline).await?.ok_or(Error::StaleHandle)?;
            if request.only_epoch.is_some_and(|epoch| epoch != rights.grant.file_epoch) {
                return Err(Error::StaleFileEpoch { current: rights.grant.file_epoch });
            }
            let target = rights.layout.set(request.index).primary();
            let wire = self.encode(&request, &rights);
            let err = match self.osds.io(target, wire, deadline).await {
                Ok(reply) => return Ok((reply, rights)),
                Err(err) => err,
            };
            match retry.after(err, || self.osds.describe(target)).await? {
                Remedy::Renew => {
                    self.renew(file, write, rights.renewals, deadline).await?;
                }
                Remedy::Wait | Remedy::Reconnect | Remedy::Elsewhere => {}
            }
        }
    }

    fn encode(&self, request: &ColumnRequest<'_>, rights: &Rights) -> IoRequest {
        let set = rights.layout.set(request.index);
        let (length, span) = match request.kind {
            IoKind::Punch | IoKind::Allocate => (0, request.range.len()),
            _ => (request.range.len(), 0),
        };
        IoRequest {
            kind: request.kind.into(),
            column: Some(self.column(rights, request.index).into()),
            offset: request.range.start(),
            length: u32::try_from(length).expect("a chunk is at most 1 MiB"),
            span,
            keep_length: request.keep_length,
            set: set.id.0,
            set_epoch: set.epoch.0,
            file_epoch: rights.grant.file_epoch.0,
            floor: rights.grant.floor.0,
            capability: rights.grant.capability.clone(),
            block_sums: request.sums.to_vec(),
            mtime_ns: request.mtime.0,
            data: request.data.clone(),
            ..IoRequest::default()
        }
    }

    pub(crate) fn column(&self, rights: &Rights, index: ColumnIndex) -> ColumnId {
        rights.layout.column(self.mrc.volume, index)
    }
}

fn assemble(cut: &[Chunk], fetched: &[Fetched], range: ByteRange) -> Bytes {
    if let ([chunk], [fetched]) = (cut, fetched)
        && let Some(whole) = chunk.whole(fetched)
    {
        return whole;
    }
    let len = usize::try_from(range.len()).expect("a request's length fits in memory");
    let mut buffer = BytesMut::zeroed(len);
    for (chunk, fetched) in cut.iter().zip(fetched) {
        chunk.scatter(fetched, &mut buffer);
    }
    buffer.freeze()
}

fn zeros_up_to(size: u64, range: ByteRange) -> Bytes {
    let len = size.clamp(range.start(), range.end()) - range.start();
    BytesMut::zeroed(usize::try_from(len).expect("at most what was asked")).freeze()
}
