//! Reads columns from the disk and checks every sum.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{Error, Result};
use xtfs_proto::v1;

use super::column_ids;
use crate::osd::Osd;
use crate::target::Target;

pub(crate) async fn verify(
    osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::VerifyRequest,
    deadline: Instant,
) -> Result<v1::VerifyReply> {
    let mut damages = Vec::new();
    for column in column_ids(wire.columns)? {
        // One call for each, so that a long list leaves the disk to others in between.
        let found = target.run(deadline, move |store| match store.verify(column) {
            Ok(found) => Ok(found),
            Err(Error::NotFound) => Ok(Vec::new()),
            Err(err) => Err(err),
        });
        for damage in found.await? {
            let (offset, length, cause) = (damage.offset, damage.length, damage.cause);
            tracing::error!(target = %target.id, %column, offset, length, cause, "corrupt data");
            osd.metrics.corrupt(target.id);
            let missing = damage.missing;
            damages.push(v1::Damage {
                column: Some(column.into()),
                offset,
                length,
                cause,
                missing,
            });
        }
    }
    Ok(v1::VerifyReply { damages })
}
