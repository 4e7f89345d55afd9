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
    /// Since when targets were asked without an answer.
    unanswered: Mutex<HashMap<TargetId, Instant>>,
}

impl Osds {
    pub(crate) fn new(cluster: Arc<Cluster>, client: ClientId, timeo: Duration) -> Self {
        let attempt_max = (timeo / 2).max(Duration::from_millis(100));
        Osds { cluster, client, attempt_max, links: Mutex::default(), unanswered: Mutex::default() }
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
        let answer = link.call(self.cluster.connector(), &addresses, request, deadline).await;
        self.heard(target, &answer);
        answer
    }

    fn heard<T>(&self, target: TargetId, answer: &Result<T>) {
        let mut unanswered = self.unanswered.lock();
        match answer {
            Err(Error::Unavailable(_) | Error::Deadline(_)) => {
                unanswered.entry(target).or_insert_with(Instant::now);
            }
            _ => {
                unanswered.remove(&target);
            }
        }
    }

    /// Whether it was asked, and has not answered, for as long as an operation may take.
    pub(crate) fn is_silent(&self, target: TargetId) -> bool {
        let since = self.unanswered.lock().get(&target).copied();
        since.is_some_and(|since| since.elapsed() >= 2 * self.attempt_max)
    }

    /// Whether it was there when it was used last.
    pub(crate) fn is_reached(&self, target: TargetId) -> bool {
        let link = self.links.lock().get(&target).cloned();
        !self.unanswered.lock().contains_key(&target) && link.is_some_and(|link| link.is_live())
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
            let answer = attempt.await;
            self.heard(target, &answer);
            match answer {
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
