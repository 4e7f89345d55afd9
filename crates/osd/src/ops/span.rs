//! Holes and room: ranges of a column that are changed or looked for without their data.

use xtfs_core::{ColumnId, Result};
use xtfs_proto::v1;

use super::io_reply;
use crate::request::Span;
use crate::store::{Fence, Store};

pub(crate) fn punch(store: &Store, fence: Fence, span: &Span) -> Result<v1::IoReply> {
    // Before the change, as for a write.
    let boot = store.boot();
    let Span { column, range, length, mtime } = *span;
    Ok(io_reply(store.punch(column, fence, range, length, mtime)?, boot))
}

pub(crate) fn allocate(store: &Store, fence: Fence, span: &Span) -> Result<v1::IoReply> {
    let boot = store.boot();
    let Span { column, range, length, mtime } = *span;
    Ok(io_reply(store.allocate(column, fence, range, length, mtime)?, boot))
}

pub(crate) fn next_data(
    store: &Store,
    column: ColumnId,
    fence: Fence,
    offset: u64,
) -> Result<v1::IoReply> {
    let (state, found) = store.next_data(column, fence, offset)?;
    let found = found.unwrap_or_default();
    let reply = io_reply(state, store.boot());
    Ok(v1::IoReply { data_start: found.start, data_end: found.end, ..reply })
}
