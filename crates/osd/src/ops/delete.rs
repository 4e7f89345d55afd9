//! Removes columns for good, for the MRC (R8, R9).

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{GroupId, Result};
use xtfs_proto::v1;

use super::column_ids;
use crate::osd::Osd;
use crate::target::Target;

pub(crate) async fn delete(
    osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::DeleteRequest,
    deadline: Instant,
) -> Result<v1::DeleteReply> {
    let columns = column_ids(wire.columns)?;
    let group = GroupId(wire.header.unwrap_or_default().group);
    let now = osd.clock.now();
    let run = target.run(deadline, move |store| {
        store.delete(&columns, now)?;
        for range in wire.never_used {
            let dropped = store.delete_data_range(group, range.first, range.end, now)?;
            if dropped > 0 {
                let v1::DataRange { first, end } = range;
                tracing::info!(dropped, first, end, "dropped columns of numbers never given out");
            }
        }
        Ok(v1::DeleteReply { boot: store.boot().0 })
    });
    run.await
}
