//! What the MRC asks of targets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use xtfs_core::{
    ClusterId, ColumnId, Error, FileEpoch, GroupId, Result, TargetId, Timestamp, VolumeId,
};
use xtfs_proto::{Header, v1};
use xtfs_rpc::{Connector, OsdService, ServiceList, TargetState, call};

use crate::extent::ColumnAnswer;
use crate::state::inode::ReplicaSet;
use crate::state::{Inode, Layout};

/// Columns in one request.
pub(crate) const COLUMNS_MAX: usize = 512;

/// Finds targets by the DIR's list and sends them requests. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Osds {
    connector: Connector,
    list: tokio::sync::watch::Receiver<Arc<ServiceList>>,
    cluster: ClusterId,
    group: GroupId,
}

impl Osds {
    pub(crate) fn new(
        connector: Connector,
        list: tokio::sync::watch::Receiver<Arc<ServiceList>>,
        cluster: ClusterId,
        group: GroupId,
    ) -> Self {
        Osds { connector, list, cluster, group }
    }

    pub(crate) fn list(&self) -> Arc<ServiceList> {
        self.list.borrow().clone()
    }

    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<Arc<ServiceList>> {
        self.list.clone()
    }

    /// Length, times and allocation of columns, all targets in parallel. Undecided if one is silent.
    pub(crate) async fn stat(
        &self,
        wanted: impl IntoIterator<Item = (TargetId, ColumnId)>,
        limit: Duration,
    ) -> Result<HashMap<ColumnId, ColumnAnswer>> {
        let mut asking = JoinSet::new();
        for (target, columns) in by_target(wanted) {
            for columns in columns.chunks(COLUMNS_MAX) {
                let (osds, columns) = (self.clone(), columns.to_vec());
                asking.spawn(async move { osds.stat_target(target, columns, limit).await });
            }
        }
        let mut answers = HashMap::new();
        while let Some(answered) = asking.join_next().await {
            let answered = answered.map_err(|err| Error::Internal(err.to_string()))?;
            answers.extend(answered?);
        }
        Ok(answers)
    }

    async fn stat_target(
        &self,
        target: TargetId,
        columns: Vec<ColumnId>,
        limit: Duration,
    ) -> Result<Vec<(ColumnId, ColumnAnswer)>> {
        let wire: Vec<_> = columns.iter().map(|&column| column.into()).collect();
        let reply = self
            .ask(target, limit, async |mut osd, header| {
                let request =
                    v1::StatRequest { header, target: target.to_wire().into(), columns: wire };
                call(limit, osd.stat(request)).await
            })
            .await?;
        if reply.columns.len() != columns.len() {
            return Err(Error::Internal(format!(
                "OSD {target} answered {} of {} columns",
                reply.columns.len(),
                columns.len()
            )));
        }
        Ok(columns
            .into_iter()
            .zip(&reply.columns)
            .map(|(id, stat)| (id, answer(id, stat)))
            .collect())
    }

    /// Seals all columns of a file with its epoch and floor (R7); answers what they are then.
    pub(crate) async fn seal(
        &self,
        volume: VolumeId,
        inode: &Inode,
        layout: &Layout,
        sets: &[ReplicaSet],
        limit: Duration,
    ) -> Result<Vec<ColumnAnswer>> {
        let mut asking = JoinSet::new();
        for (index, set) in layout.striping.columns().zip(sets) {
            let column = ColumnId { volume, data: layout.data, index, version: layout.version };
            for member in &set.members {
                let request = v1::SealRequest {
                    header: None,
                    target: member.target.to_wire().into(),
                    column: Some(column.into()),
                    layout: Some(layout.striping.into()),
                    file_epoch: inode.file_epoch.0,
                    floor: inode.floor.0,
                    set: set.id.0,
                    set_epoch: set.epoch.0,
                };
                let (osds, target) = (self.clone(), member.target);
                asking.spawn(async move { osds.seal_column(target, column, request, limit).await });
            }
        }
        let mut answers = Vec::new();
        while let Some(answered) = asking.join_next().await {
            answers.push(answered.map_err(|err| Error::Internal(err.to_string()))??);
        }
        Ok(answers)
    }

    async fn seal_column(
        &self,
        target: TargetId,
        column: ColumnId,
        request: v1::SealRequest,
        limit: Duration,
    ) -> Result<ColumnAnswer> {
        let reply = self
            .ask(target, limit, async |mut osd, header| {
                call(limit, osd.seal(v1::SealRequest { header, ..request })).await
            })
            .await?;
        let stat = reply.stat.ok_or_else(|| {
            Error::Internal(format!("OSD {target} sealed {column} without saying its length"))
        })?;
        Ok(answer(column, &stat))
    }

    /// Removes columns for good, and those with data numbers that were never used.
    pub(crate) async fn delete(
        &self,
        target: TargetId,
        columns: &[ColumnId],
        never_used: Vec<v1::DataRange>,
        limit: Duration,
    ) -> Result<()> {
        let columns = columns.iter().map(|&column| column.into()).collect();
        self.ask(target, limit, async |mut osd, header| {
            let target = target.to_wire().into();
            let request = v1::DeleteRequest { header, target, columns, never_used };
            call(limit, osd.delete(request)).await
        })
        .await?;
        Ok(())
    }

    /// Tells a target of sets that it is a member of.
    pub(crate) async fn configure(
        &self,
        target: TargetId,
        sets: &[ReplicaSet],
        limit: Duration,
    ) -> Result<()> {
        let set = |set: &ReplicaSet| v1::SetEpoch {
            set: set.id.0,
            epoch: set.epoch.0,
            members: set.members.iter().map(|member| member.target.to_wire().into()).collect(),
        };
        let sets = sets.iter().map(set).collect();
        self.ask(target, limit, async |mut osd, header| {
            let target = target.to_wire().into();
            let request = v1::ConfigureSetsRequest { header, target, sets };
            call(limit, osd.configure_sets(request)).await
        })
        .await?;
        Ok(())
    }

    /// Names the target in what goes wrong: the operator looks there.
    async fn ask<T>(
        &self,
        target: TargetId,
        limit: Duration,
        request: impl AsyncFnOnce(OsdService, Option<v1::RequestHeader>) -> Result<T>,
    ) -> Result<T> {
        let list = self.list();
        let record = list.target(target).filter(|record| record.state != TargetState::Removed);
        let record = record.ok_or_else(|| {
            Error::Unavailable(format!("OSD {target} is not registered; see xtfs osd ls"))
        })?;
        let address = record.addresses.first().ok_or_else(|| {
            Error::Unavailable(format!("OSD {target} has no address; see xtfs osd ls"))
        })?;
        let header =
            Header { group: self.group, deadline: Some(limit), ..Header::new(Some(self.cluster)) };
        let answered = request(self.connector.osd(address), Some(header.into())).await;
        answered.map_err(|err| match err {
            Error::Unavailable(text) => {
                Error::Unavailable(format!("OSD {target} at {address}: {text}"))
            }
            Error::Deadline(text) => Error::Deadline(format!("OSD {target} at {address}: {text}")),
            err => err,
        })
    }
}

fn answer(id: ColumnId, stat: &v1::ColumnStat) -> ColumnAnswer {
    ColumnAnswer {
        index: id.index,
        length: stat.length,
        allocated: stat.allocated,
        mtime: (stat.exists && stat.mtime_ns != 0).then_some(Timestamp(stat.mtime_ns)),
        file_epoch: FileEpoch(stat.file_epoch),
    }
}

pub(crate) fn by_target(
    columns: impl IntoIterator<Item = (TargetId, ColumnId)>,
) -> BTreeMap<TargetId, Vec<ColumnId>> {
    let mut grouped: BTreeMap<TargetId, Vec<ColumnId>> = BTreeMap::new();
    for (target, column) in columns {
        grouped.entry(target).or_default().push(column);
    }
    grouped
}
