//! Requests to the DIR: whichever of its members answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};
use xtfs_core::{ClusterId, Error, Result};
use xtfs_proto::v1::dir_client::DirClient;
use xtfs_proto::{Header, v1};

use crate::address::{Address, DirAddresses};
use crate::connect::{Connector, call};
use crate::service_list::ServiceList;

/// How long one member may take before the next is asked.
const MEMBER_DEADLINE: Duration = Duration::from_secs(3);

/// The members of a DIR. Clones remember together which one answered last.
#[derive(Clone, Debug)]
pub struct Directory {
    connector: Connector,
    members: Arc<[Address]>,
    answered_last: Arc<AtomicUsize>,
}

impl Directory {
    pub fn new(connector: Connector, members: &DirAddresses) -> Self {
        let members = members.as_slice().into();
        Directory { connector, members, answered_last: Arc::default() }
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The cluster that the DIR keeps.
    pub async fn describe(&self, deadline: Duration) -> Result<ClusterId> {
        let reply = self
            .call(deadline, |mut dir, left| async move {
                let header = Header { deadline: Some(left), ..Header::new(None) };
                dir.describe(v1::DescribeRequest { header: Some(header.into()) }).await
            })
            .await?;
        ClusterId::from_wire(&reply.cluster)
    }

    pub async fn list(&self, cluster: ClusterId, deadline: Duration) -> Result<ServiceList> {
        self.list_wire(cluster, deadline).await?.try_into()
    }

    pub(crate) async fn list_wire(
        &self,
        cluster: ClusterId,
        deadline: Duration,
    ) -> Result<v1::ListReply> {
        self.call(deadline, |mut dir, left| async move {
            let header = Header { deadline: Some(left), ..Header::new(Some(cluster)) };
            dir.list(v1::ListRequest { header: Some(header.into()) }).await
        })
        .await
    }

    /// Asks the members in turn, the one that answered last first, until one decides or `deadline`
    /// has passed. `request` gets the time that it has.
    pub async fn call<T, F>(
        &self,
        deadline: Duration,
        request: impl Fn(DirClient<Channel>, Duration) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_with_address(deadline, request).await.map(|(reply, _)| reply)
    }

    /// Also says which member it was.
    pub(crate) async fn call_with_address<T, F>(
        &self,
        deadline: Duration,
        request: impl Fn(DirClient<Channel>, Duration) -> F,
    ) -> Result<(T, Address)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let end = Instant::now() + deadline;
        let first = self.answered_last.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        let mut last = Error::Unavailable("no DIR address".into());
        for n in 0..self.members.len() {
            let at = (first + n) % self.members.len();
            let member = &self.members[at];
            let left = (end - Instant::now()).min(MEMBER_DEADLINE);
            if left.is_zero() {
                break;
            }
            match call(left, request(self.connector.dir(member), left)).await {
                Err(err) if err.is_retryable() => {
                    failures.push(format!("{member}: {err}"));
                    last = err;
                }
                decided => {
                    self.answered_last.store(at, Ordering::Relaxed);
                    return decided.map(|reply| (reply, member.clone()));
                }
            }
        }
        // Each error says its kind once; of several members all are listed.
        Err(match last {
            Error::Overloaded(_) => Error::Overloaded(failures.join(", ")),
            _ => Error::Unavailable(format!("no DIR answered ({})", failures.join(", "))),
        })
    }

    pub(crate) fn members(&self) -> &[Address] {
        &self.members
    }
}
