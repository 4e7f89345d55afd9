//! One file for each request.

pub(crate) mod configure_sets;
pub(crate) mod delete;
pub(crate) mod hello;
pub(crate) mod list;
pub(crate) mod punch;
pub(crate) mod read;
pub(crate) mod seal;
pub(crate) mod span;
pub(crate) mod stat;
pub(crate) mod sync;
pub(crate) mod unary;
pub(crate) mod verify;
pub(crate) mod write;

use xtfs_core::{ColumnId, Error, Result};
use xtfs_proto::v1;

use crate::store::ColumnState;

/// Columns that one request names at most.
pub(crate) const COLUMNS_MAX: usize = 64 << 10;

fn column_ids(wire: Vec<v1::ColumnId>) -> Result<Vec<ColumnId>> {
    if wire.len() > COLUMNS_MAX {
        return Err(Error::Invalid(format!("more than {COLUMNS_MAX} columns in one request")));
    }
    wire.into_iter().map(ColumnId::try_from).collect()
}

/// What an `IoReply` says of the column after the request.
fn io_reply(state: ColumnState, boot: xtfs_core::BootNumber) -> v1::IoReply {
    v1::IoReply {
        column_length: state.length,
        allocated: state.allocated,
        mtime_ns: state.mtime.0,
        boot: boot.0,
        ..Default::default()
    }
}

fn column_stat(column: ColumnId, state: Option<ColumnState>) -> v1::ColumnStat {
    let exists = state.is_some();
    let state = state.unwrap_or_default();
    v1::ColumnStat {
        column: Some(column.into()),
        length: state.length,
        allocated: state.allocated,
        mtime_ns: state.mtime.0,
        file_epoch: state.file_epoch.0,
        exists,
    }
}
