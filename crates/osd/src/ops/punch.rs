//! Deallocates a range of a column.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::capability::Rights;
use xtfs_core::{
    ByteRange, ClientId, Error, Generation, ReplicaSetId, Result, SetEpoch, Timestamp,
};
use xtfs_proto::v1;

use crate::admission::Claim;
use crate::osd::Osd;
use crate::request::{Proof, column_id};
use crate::store::Length;
use crate::target::Target;

pub(crate) async fn punch(
    osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::PunchRequest,
    deadline: Instant,
) -> Result<v1::PunchReply> {
    let column = column_id(wire.column)?;
    let range = ByteRange::new(wire.offset, wire.length).ok_or(Error::FileTooLarge)?;
    let claim = Claim {
        column,
        needs: Rights::ReadWrite,
        set: ReplicaSetId(wire.set),
        set_epoch: SetEpoch(wire.set_epoch),
        file_epoch: None,
    };
    let proof = Proof { claim, token: wire.capability };
    let client = ClientId::from_wire(&wire.client)?;
    let in_flight = target.connections.begin(client, Generation(wire.generation))?;
    let (osd, id) = (Arc::clone(osd), target.id);
    let run = target.run(deadline, move |store| {
        in_flight.still_newest()?;
        let fence = osd.admit(store, id, &proof)?;
        let boot = store.boot();
        let mtime = Timestamp(wire.mtime_ns);
        let state = store.punch(column, fence, range, Length::Keep, mtime)?;
        Ok(v1::PunchReply { column_length: state.length, allocated: state.allocated, boot: boot.0 })
    });
    run.await
}
