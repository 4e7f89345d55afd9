//! Length, allocation and times of columns.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::Result;
use xtfs_proto::v1;

use super::{column_ids, column_stat};
use crate::osd::Osd;
use crate::target::Target;

pub(crate) async fn stat(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::StatRequest,
    deadline: Instant,
) -> Result<v1::StatReply> {
    let ids = column_ids(wire.columns)?;
    let run = target.run(deadline, move |store| {
        let stats = ids.into_iter().map(|id| Ok(column_stat(id, store.stat(id)?)));
        Ok(v1::StatReply { columns: stats.collect::<Result<_>>()?, boot: store.boot().0 })
    });
    run.await
}
