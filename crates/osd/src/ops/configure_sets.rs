//! Learns the epochs of replica sets from the MRC.

use std::sync::Arc;

use tokio::time::Instant;
use xtfs_core::{ReplicaSetId, Result, SetEpoch, TargetId};
use xtfs_proto::v1;

use crate::osd::Osd;
use crate::store::ReplicaSet;
use crate::target::Target;

pub(crate) async fn configure_sets(
    _osd: &Arc<Osd>,
    target: &Arc<Target>,
    wire: v1::ConfigureSetsRequest,
    deadline: Instant,
) -> Result<v1::ConfigureSetsReply> {
    let sets: Vec<_> = wire.sets.into_iter().map(replica_set).collect::<Result<_>>()?;
    target.run(deadline, move |store| store.configure_sets(&sets)).await?;
    Ok(v1::ConfigureSetsReply {})
}

fn replica_set(wire: v1::SetEpoch) -> Result<(ReplicaSetId, ReplicaSet)> {
    let members = wire.members.iter().map(|id| TargetId::from_wire(id));
    let members = members.collect::<Result<_>>()?;
    Ok((ReplicaSetId(wire.set), ReplicaSet { epoch: SetEpoch(wire.epoch), members }))
}
