//! Fences a column at a new epoch and cuts it (R7), for the MRC.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{Error, FileEpoch, Floor, ReplicaSetId, Result, SetEpoch, StripeLayout};
use xtfs_proto::v1;

use super::column_stat;
use crate::admission::{Told, admit_set, seal_fence};
use crate::osd::Osd;
use crate::request::column_id;
use crate::target::Target;

pub(crate) async fn seal(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::SealRequest,
    deadline: Instant,
) -> Result<v1::SealReply> {
    let column = column_id(wire.column)?;
    let layout = wire.layout.ok_or_else(|| Error::Invalid("a seal names no layout".into()))?;
    let layout = StripeLayout::try_from(layout)?;
    if column.index.0 >= layout.stripe_width() {
        return Err(Error::Invalid(format!("column {column} is not in its layout")));
    }
    let fence = seal_fence(column, layout, FileEpoch(wire.file_epoch), Floor(wire.floor));
    let (id, set, epoch) = (target.id, ReplicaSetId(wire.set), SetEpoch(wire.set_epoch));
    let run = target.run(deadline, move |store| {
        let known = store.set(set)?;
        admit_set(epoch, Told { target: id, set: known.as_ref() })?;
        let state = store.seal(column, fence)?;
        let stat = column_stat(column, Some(state));
        Ok(v1::SealReply { stat: Some(stat), boot: store.boot().0 })
    });
    run.await
}
