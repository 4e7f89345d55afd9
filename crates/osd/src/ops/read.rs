//! Reads part of a column; holes travel as missing extents.

use xtfs_core::{ByteRange, ColumnId, Error, Result};
use xtfs_proto::v1;

use super::io_reply;
use crate::store::{Fence, Store};

pub(crate) fn read(
    store: &Store,
    column: ColumnId,
    fence: Fence,
    range: ByteRange,
) -> Result<v1::IoReply> {
    let length = u32::try_from(range.len()).map_err(|_| Error::FileTooLarge)?;
    let out = store.read(column, fence, range.start(), length)?;
    let extents = out.extents.into_iter();
    let extents = extents.map(|part| v1::Extent { offset: part.offset, length: part.length });
    Ok(v1::IoReply {
        length: out.length,
        extents: extents.collect(),
        block_sums: out.sums,
        data: out.data,
        ..io_reply(out.state, store.boot())
    })
}
