//! Reads, writes and syncs as they come over `Io` or one by one, decoded once.

use std::time::Duration;

use bytes::Bytes;
use xtfs_core::capability::Rights;
use xtfs_core::checksum::{BLOCK_SIZE, pieces};
use xtfs_core::{
    ByteRange, ColumnId, Error, FILE_SIZE_MAX, FileEpoch, ReplicaSetId, Result, SetEpoch, Timestamp,
};
use xtfs_proto::v1;

use crate::admission::Claim;
use crate::store::Length;

/// Bytes that one request reads or writes at most.
pub(crate) const IO_LENGTH_MAX: u32 = 16 << 20;
/// The server's own limit, for requests that name none or a longer one.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// A claim with the token that proves it.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) claim: Claim,
    pub(crate) token: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) column: ColumnId,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// Of each piece of `data` as cut at block borders; as many as there are pieces.
    pub(crate) sums: Vec<u32>,
    pub(crate) mtime: Timestamp,
    /// On disk before it is answered.
    pub(crate) sync: bool,
}

/// A range of a column, of any length, that is changed without data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) column: ColumnId,
    pub(crate) range: ByteRange,
    pub(crate) length: Length,
    pub(crate) mtime: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) enum Io {
    /// Block-aligned at both ends.
    Read(Proof, ByteRange),
    Write(Proof, Write),
    Punch(Proof, Span),
    Allocate(Proof, Span),
    /// From this offset of the column.
    NextData(Proof, u64),
    /// Changes nothing that anyone can see, so it needs no capability.
    Sync(ColumnId),
}

impl Io {
    /// Counts in metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Io::Read(..) => "read",
            Io::Write(..) => "write",
            Io::Punch(..) => "punch",
            Io::Allocate(..) => "allocate",
            Io::NextData(..) => "next_data",
            Io::Sync(_) => "sync",
        }
    }

    /// Bytes of data that the request brings or asks for.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Io::Read(_, range) => range.len(),
            Io::Write(_, write) => write.data.len() as u64,
            Io::Punch(..) | Io::Allocate(..) | Io::NextData(..) | Io::Sync(_) => 0,
        }
    }
}

/// Time that the sender still waits, within the server's own limit.
pub(crate) fn deadline(ms: u32) -> Duration {
    match ms {
        0 => DEADLINE_MAX,
        ms => Duration::from_millis(ms.into()).min(DEADLINE_MAX),
    }
}

/// Memory that a request takes until it is answered.
pub(crate) fn footprint(wire: &v1::IoRequest) -> usize {
    match wire.kind() {
        v1::IoKind::Read => wire.length.min(IO_LENGTH_MAX) as usize,
        _ => wire.data.len(),
    }
}

pub(crate) fn column_id(wire: Option<v1::ColumnId>) -> Result<ColumnId> {
    wire.ok_or_else(|| Error::Invalid("the request names no column".into()))?.try_into()
}

impl TryFrom<v1::IoRequest> for Io {
    type Error = Error;

    fn try_from(wire: v1::IoRequest) -> Result<Self> {
        let column = column_id(wire.column)?;
        if wire.length > IO_LENGTH_MAX {
            let length = wire.length;
            return Err(Error::Invalid(format!("{length} bytes are above {IO_LENGTH_MAX}")));
        }
        let proof = |needs| Proof {
            claim: Claim {
                column,
                needs,
                set: ReplicaSetId(wire.set),
                set_epoch: SetEpoch(wire.set_epoch),
                file_epoch: Some(FileEpoch(wire.file_epoch)),
            },
            token: wire.capability.clone(),
        };
        match wire.kind() {
            v1::IoKind::Read => {
                let block = BLOCK_SIZE as u64;
                // The last block that a file can have ends one byte beyond what a file can hold.
                let range = ByteRange::new(wire.offset, wire.length.into())
                    .filter(|range| range.end() <= FILE_SIZE_MAX.next_multiple_of(block))
                    .ok_or(Error::FileTooLarge)?;
                if !range.start().is_multiple_of(block) || !range.len().is_multiple_of(block) {
                    return Err(Error::Invalid("a read is not aligned to blocks".into()));
                }
                Ok(Io::Read(proof(Rights::Read), range))
            }
            kind @ (v1::IoKind::Write | v1::IoKind::WriteSync) => {
                let proof = proof(Rights::ReadWrite);
                Ok(Io::Write(proof, write(column, wire, kind == v1::IoKind::WriteSync)?))
            }
            v1::IoKind::Punch => Ok(Io::Punch(proof(Rights::ReadWrite), span(column, &wire)?)),
            v1::IoKind::Allocate => {
                Ok(Io::Allocate(proof(Rights::ReadWrite), span(column, &wire)?))
            }
            v1::IoKind::NextData => Ok(Io::NextData(proof(Rights::Read), wire.offset)),
            v1::IoKind::Sync => Ok(Io::Sync(column)),
            v1::IoKind::Hello => Err(Error::Invalid("a hello is not a request of a file".into())),
            v1::IoKind::Unspecified => Err(Error::NotSupported("this kind of request".into())),
        }
    }
}

fn write(column: ColumnId, wire: v1::IoRequest, sync: bool) -> Result<Write> {
    let range = byte_range(wire.offset, wire.length.into())?;
    if wire.data.len() as u64 != range.len() || range.is_empty() {
        return Err(Error::Invalid(format!(
            "a write of {} bytes brings {}",
            range.len(),
            wire.data.len()
        )));
    }
    let expected = pieces(wire.offset, &wire.data).count();
    if wire.block_sums.len() != expected {
        let sums = wire.block_sums.len();
        return Err(Error::Invalid(format!("{sums} sums for {expected} blocks")));
    }
    Ok(Write {
        column,
        offset: wire.offset,
        data: wire.data,
        sums: wire.block_sums,
        mtime: Timestamp(wire.mtime_ns),
        sync,
    })
}

fn span(column: ColumnId, wire: &v1::IoRequest) -> Result<Span> {
    let range = byte_range(wire.offset, wire.span)?;
    let length = if wire.keep_length { Length::Keep } else { Length::Grow };
    Ok(Span { column, range, length, mtime: Timestamp(wire.mtime_ns) })
}

fn byte_range(offset: u64, length: u64) -> Result<ByteRange> {
    // What no file can hold is refused here, so that sums of offsets never overflow below.
    ByteRange::new(offset, length)
        .filter(|range| range.end() <= FILE_SIZE_MAX)
        .ok_or(Error::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::checksum::piece_sums;

    fn wire(kind: v1::IoKind) -> v1::IoRequest {
        let column = v1::ColumnId { volume: 1, data: 2, index: 0, version: 0 };
        v1::IoRequest { kind: kind.into(), column: Some(column), ..Default::default() }
    }

    fn wire_write(offset: u64, len: usize) -> v1::IoRequest {
        let data = Bytes::from(vec![7; len]);
        let length = u32::try_from(len).unwrap();
        let block_sums = piece_sums(offset, &data);
        v1::IoRequest { offset, length, block_sums, data, ..wire(v1::IoKind::Write) }
    }

    #[test]
    fn what_is_sound_is_decoded() {
        assert!(matches!(Io::try_from(wire_write(4095, 4098)), Ok(Io::Write(_, write))
            if !write.sync && write.sums.len() == 3));
        let read = v1::IoRequest { offset: 4096, length: 8192, ..wire(v1::IoKind::Read) };
        assert!(matches!(Io::try_from(read), Ok(Io::Read(_, range)) if range.len() == 8192));
        assert!(matches!(Io::try_from(wire(v1::IoKind::Sync)), Ok(Io::Sync(_))));
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        #[track_caller]
        fn check(wire: v1::IoRequest) {
            let refused = Io::try_from(wire);
            assert!(
                matches!(
                    refused,
                    Err(Error::Invalid(_) | Error::NotSupported(_) | Error::FileTooLarge)
                ),
                "{refused:?}"
            );
        }
        let read = || wire(v1::IoKind::Read);
        check(v1::IoRequest { column: None, ..read() });
        check(v1::IoRequest { offset: 1, length: 4096, ..read() });
        check(v1::IoRequest { length: 4095, ..read() });
        check(v1::IoRequest { length: IO_LENGTH_MAX + 4096, ..read() });
        check(v1::IoRequest { offset: 1 << 63, length: 4096, ..read() });
        check(v1::IoRequest { offset: u64::MAX - 4095, length: 4096, ..read() });
        check(wire(v1::IoKind::Hello));
        check(wire(v1::IoKind::Unspecified));
        check(v1::IoRequest { kind: 99, ..read() });
        check(wire_write(0, 0));
        check(v1::IoRequest { length: 3, ..wire_write(0, 4) });
        check(v1::IoRequest { block_sums: vec![1, 2], ..wire_write(0, 4) });
    }

    #[test]
    fn deadlines_stay_within_the_server_s_limit() {
        assert_eq!(deadline(0), DEADLINE_MAX);
        assert_eq!(deadline(5), Duration::from_millis(5));
        assert_eq!(deadline(u32::MAX), DEADLINE_MAX);
    }
}
