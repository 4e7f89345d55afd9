//! The cluster as a client sees it: which services there are, and where.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use xtfs_core::{ClusterId, Error, GroupId, Result, TargetId};
use xtfs_rpc::{
    Address, Connector, DirAddresses, Directory, DirectoryWatch, ServiceList, TargetState,
};

#[derive(Debug)]
pub(crate) struct Cluster {
    id: ClusterId,
    connector: Connector,
    directory: Directory,
    watch: DirectoryWatch,
}

impl Cluster {
    /// `cache_dir` holds the last service list over mounts.
    pub(crate) async fn connect(
        dirs: &DirAddresses,
        cache_dir: Option<&Path>,
        deadline: Duration,
    ) -> Result<Arc<Self>> {
        let connector = Connector::new();
        let directory = Directory::new(connector.clone(), dirs);
        let id = directory.describe(deadline).await?;
        let cache = cache_dir.map(|dir| dir.join(format!("{id}.services")));
        let watch = DirectoryWatch::start(directory.clone(), id, cache, deadline).await?;
        Ok(Arc::new(Cluster { id, connector, directory, watch }))
    }

    pub(crate) fn id(&self) -> ClusterId {
        self.id
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// As the DIR told last.
    pub(crate) fn services(&self) -> Arc<ServiceList> {
        self.watch.current()
    }

    /// As the DIR says now.
    pub(crate) async fn fresh_services(&self, deadline: Duration) -> Result<ServiceList> {
        self.directory.list(self.id, deadline).await
    }

    /// Where the members of an MRC group are, the leader first.
    pub(crate) fn mrc_addresses(&self, group: GroupId) -> Vec<Address> {
        let services = self.services();
        services.group(group).into_iter().flat_map(|mrc| mrc.addresses.clone()).collect()
    }

    /// Also of a target that the DIR holds for dead: it may be the DIR that is cut off.
    pub(crate) fn target_addresses(&self, target: TargetId) -> Result<Vec<Address>> {
        let services = self.services();
        let record = services.target(target);
        let record = record
            .ok_or_else(|| Error::Unavailable(format!("the DIR does not know target {target}")))?;
        if record.state == TargetState::Removed {
            return Err(Error::Unavailable(format!("target {target} was removed")));
        }
        Ok(record.addresses.clone())
    }

    /// Host and address of a target, for messages.
    pub(crate) fn describe_target(&self, target: TargetId) -> String {
        match self.services().target(target) {
            Some(record) => {
                let address = record.addresses.first().map(Address::to_string).unwrap_or_default();
                format!("OSD {target} ({}:{} at {address})", record.node, record.path)
            }
            None => format!("OSD {target}"),
        }
    }
}
