//! Puts columns on disk.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{ColumnId, Result};
use xtfs_proto::v1;

use super::{column_ids, io_reply};
use crate::osd::Osd;
use crate::store::Store;
use crate::target::Target;

pub(crate) async fn sync(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::SyncRequest,
    deadline: Instant,
) -> Result<v1::SyncReply> {
    let columns = column_ids(wire.columns)?;
    let run = target.run(deadline, move |store| {
        store.sync(&columns)?;
        // After the sync: if another one failed meanwhile, the client learns of it now.
        Ok(v1::SyncReply { boot: store.boot().0 })
    });
    run.await
}

pub(crate) fn sync_one(store: &Store, column: ColumnId) -> Result<v1::IoReply> {
    store.sync(&[column])?;
    let state = store.stat(column)?.unwrap_or_default();
    Ok(io_reply(state, store.boot()))
}
