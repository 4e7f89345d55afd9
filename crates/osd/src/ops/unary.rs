//! A read, write or sync that comes alone: the same as over `Io`.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{ClientId, Error, Generation, Result};
use xtfs_proto::v1;

use crate::budget::Charge;
use crate::osd::Osd;
use crate::request::footprint;
use crate::target::Target;

pub(crate) async fn io(
    osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::UnaryIo,
    deadline: Instant,
) -> Result<v1::IoReply> {
    let request = wire.io.ok_or_else(|| Error::Invalid("the request is empty".into()))?;
    let client = ClientId::from_wire(&wire.client)?;
    let in_flight = target.connections.begin(client, Generation(wire.generation));
    let _charge = Charge::take(&[&target.budget], footprint(&request)).await;
    Ok(target.io(osd, request, deadline, in_flight).await)
}
