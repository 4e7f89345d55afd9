//! Opens a generation for requests that do not come over `Io`.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{ClientId, Generation, Result};
use xtfs_proto::v1;

use crate::osd::Osd;
use crate::target::Target;

pub(crate) async fn hello(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::HelloRequest,
    _deadline: Instant,
) -> Result<v1::HelloReply> {
    let client = ClientId::from_wire(&wire.client)?;
    target.connections.hello(client, Generation(wire.generation)).await?;
    Ok(v1::HelloReply { boot: target.boot() })
}
