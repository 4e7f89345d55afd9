//! A daemon: its targets, and what they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::{Clock, ClusterId, Error, Result, TargetId};
use xtfs_proto::{Header, v1};

use crate::admission::{Told, admit};
use crate::capabilities::Capabilities;
use crate::metrics::Metrics;
use crate::request::Proof;
use crate::store::{Fence, Store};
use crate::target::Target;

#[derive(Debug)]
pub(crate) struct Osd {
    pub(crate) cluster: ClusterId,
    pub(crate) targets: BTreeMap<TargetId, Arc<Target>>,
    pub(crate) capabilities: Capabilities,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// Streams and requests; waited for when the daemon stops.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Osd {
    /// Checks that a request is for us, and finds its target.
    pub(crate) fn enter(
        &self,
        header: Option<&v1::RequestHeader>,
        target: &Bytes,
    ) -> Result<(Arc<Target>, Duration)> {
        let header = Header::try_from(header.cloned())?.for_cluster(self.cluster)?;
        let id = TargetId::from_wire(target)?;
        let target = self.targets.get(&id).ok_or_else(|| {
            Error::Unavailable(format!("target {id} is not served here; ask the DIR where it is"))
        })?;
        let limit = crate::request::DEADLINE_MAX;
        Ok((Arc::clone(target), header.deadline.unwrap_or(limit).min(limit)))
    }

    /// Admits a request with a capability (O1).
    pub(crate) fn admit(&self, store: &Store, target: TargetId, proof: &Proof) -> Result<Fence> {
        let capability = self.capabilities.verify(&proof.token)?;
        let set = store.set(proof.claim.set)?;
        let told = Told { target, set: set.as_ref() };
        admit(proof.claim, &capability, told, self.clock.now())
    }
}
