//! Columns that a target holds, page by page.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{ColumnId, Result, VolumeId};
use xtfs_proto::v1;

use super::column_stat;
use crate::osd::Osd;
use crate::target::Target;

/// Columns in one reply, at most and by default.
const PAGE_MAX: usize = 10_000;

pub(crate) async fn list(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::ListColumnsRequest,
    deadline: Instant,
) -> Result<v1::ListColumnsReply> {
    let after = wire.after.map(ColumnId::try_from).transpose()?;
    let volume = (wire.volume != 0).then_some(VolumeId(wire.volume));
    let limit = match wire.limit {
        0 => PAGE_MAX,
        limit => PAGE_MAX.min(limit as usize),
    };
    let run = target.run(deadline, move |store| {
        let page = store.list(after, limit, volume)?;
        let end = page.len() < limit;
        let columns = page.into_iter().map(|(id, state)| column_stat(id, Some(state))).collect();
        Ok(v1::ListColumnsReply { columns, end })
    });
    run.await
}
