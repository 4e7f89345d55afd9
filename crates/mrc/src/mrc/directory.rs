//! What the DIR says, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use xtfs_core::{Error, Result, VolumeId};
use xtfs_proto::{Header, v1};
use xtfs_rpc::{ServiceList, TargetState};

use super::Mrc;
use crate::capacity;
use crate::capacity::{Capacity, Disk};
use crate::placement::{Candidate, Standing};

/// How long the DIR may take where its last list would do.
const DIR_DEADLINE: Duration = Duration::from_secs(2);

impl Mrc {
    pub(crate) fn list(&self) -> Arc<ServiceList> {
        self.osds.list()
    }

    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let list = self.list();
        let candidate = |target: &xtfs_rpc::TargetRecord| Candidate {
            id: target.id,
            standing: standing(target.state),
            serves: target.alive && target.fault.is_none(),
            total_bytes: target.total_bytes,
            free_bytes: target.free_bytes,
            node: target.node.clone(),
        };
        list.targets.iter().map(candidate).collect()
    }

    /// As the DIR says now, so that a target counts as soon as it is listed; as it said last if it is away. Files that
    /// are made from here on find the same targets.
    pub(crate) async fn targets_registered(&self) -> usize {
        let fresh = self.directory.list(self.cluster, DIR_DEADLINE).await;
        let fresh = fresh.map_or_else(|_| self.list(), Arc::new);
        let has_all = |list: &Arc<ServiceList>| {
            fresh.targets.iter().all(|target| list.target(target.id).is_some())
        };
        let mut followed = self.osds.changes();
        if timeout(DIR_DEADLINE, followed.wait_for(has_all)).await.is_err() {
            tracing::warn!("the DIR lists targets that it does not tell of");
        }
        fresh.targets.iter().filter(|target| target.state != TargetState::Removed).count()
    }

    pub(crate) fn capacity(&self) -> Capacity {
        let list = self.list();
        let disk = |target: &xtfs_rpc::TargetRecord| Disk {
            standing: standing(target.state),
            serves: target.alive && target.fault.is_none(),
            total_bytes: target.total_bytes,
            used_bytes: target.used_bytes,
            free_bytes: target.free_bytes,
            filesystem: target.filesystem.clone().unwrap_or_default(),
        };
        capacity::capacity(&list.targets.iter().map(disk).collect::<Vec<_>>())
    }

    pub(crate) async fn claim_volume(&self, name: &str, limit: Duration) -> Result<VolumeId> {
        let claim = async |mut dir: xtfs_rpc::DirService, left| {
            let request = v1::ClaimVolumeRequest {
                header: Some(self.dir_header(left)),
                name: name.to_owned(),
                group: self.group.0,
            };
            dir.claim_volume(request).await
        };
        let reply = self.directory.call(limit, claim).await?;
        Ok(VolumeId(reply.id))
    }

    pub(crate) async fn release_volume(
        &self,
        name: &str,
        id: VolumeId,
        limit: Duration,
    ) -> Result<()> {
        let release = async |mut dir: xtfs_rpc::DirService, left| {
            let header = Some(self.dir_header(left));
            let request = v1::ReleaseVolumeRequest { header, name: name.to_owned(), id: id.0 };
            dir.release_volume(request).await
        };
        match self.directory.call(limit, release).await {
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(err) => Err(err),
        }
    }

    fn dir_header(&self, left: Duration) -> v1::RequestHeader {
        let header = Header::new(Some(self.cluster));
        Header { group: self.group, deadline: Some(left), ..header }.into()
    }
}

fn standing(state: TargetState) -> Standing {
    match state {
        TargetState::Online => Standing::Online,
        TargetState::Locked => Standing::Locked,
        TargetState::Draining => Standing::Draining,
        TargetState::Removed => Standing::Removed,
    }
}
