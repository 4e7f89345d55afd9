//! All targets that the mount talks to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use xtfs_core::{BootNumber, ClientId, ColumnId, Error, Result, TargetId};
use xtfs_proto::v1::{IoReply, IoRequest, SyncRequest};
use xtfs_proto::{Header, v1};
use xtfs_rpc::{OsdService, call};

use crate::cluster::Cluster;
use crate::osd_link::Link;
use crate::retry::Retry;

#[derive(Debug)]
pub(crate) struct Osds {
    cluster: Arc<Cluster>,
    client: ClientId,
    /// Of one attempt; two fit into an operation.
    attempt_max: Duration,
    links: Mutex<HashMap<TargetId, Arc<Link>>>,
}

impl Osds {
    pub(crate) fn new(cluster: Arc<Cluster>, client: ClientId, timeo: Duration) -> Self {
        let attempt_max = (timeo / 2).max(Duration::from_millis(100));
        Osds { cluster, client, attempt_max, links: Mutex::default() }
    }

    /// One attempt of a read or write.
    pub(crate) async fn io(
        &self,
        target: TargetId,
        request: IoRequest,
        deadline: Instant,
    ) -> Result<IoReply> {
        let addresses = self.cluster.target_addresses(target)?;
        let deadline = deadline.min(Instant::now() + self.attempt_max);
        let link = self.link(target);
        link.call(self.cluster.connector(), &addresses, request, deadline).await
    }

    /// Puts columns on the target's disk; asks until `deadline`.
    pub(crate) async fn sync(
        &self,
        target: TargetId,
        columns: &[ColumnId],
        deadline: Instant,
    ) -> Result<BootNumber> {
        let columns: Vec<_> = columns.iter().map(|column| v1::ColumnId::from(*column)).collect();
        let mut retry = Retry::until(deadline);
        loop {
            let left = retry.left().min(self.attempt_max);
            let request = SyncRequest {
                header: Some(self.header(left).into()),
                target: target.to_wire().into(),
                columns: columns.clone(),
            };
            let attempt = async {
                let mut service = self.service(target)?;
                call(left, service.sync(request)).await
            };
            match attempt.await {
                Ok(reply) => return Ok(BootNumber(reply.boot)),
                Err(err) => {
                    retry.after(err, || self.cluster.describe_target(target)).await?;
                }
            }
        }
    }

    pub(crate) fn describe(&self, target: TargetId) -> String {
        self.cluster.describe_target(target)
    }

    fn service(&self, target: TargetId) -> Result<OsdService> {
        let addresses = self.cluster.target_addresses(target)?;
        let address = addresses.first();
        let address =
            address.ok_or_else(|| Error::Unavailable(format!("target {target} has no address")))?;
        Ok(self.cluster.connector().osd(address))
    }

    fn header(&self, deadline: Duration) -> Header {
        Header { deadline: Some(deadline), ..Header::new(Some(self.cluster.id())) }
    }

    fn link(&self, target: TargetId) -> Arc<Link> {
        let mut links = self.links.lock();
        let new = || {
            let header = Header::new(Some(self.cluster.id()));
            Arc::new(Link::new(target, header, self.client.to_wire()))
        };
        links.entry(target).or_insert_with(new).clone()
    }
}
