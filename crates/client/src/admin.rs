//! What tools ask of a cluster, outside any mount: services, volumes, and the columns behind files.

use std::collections::BTreeMap;
use std::time::Duration;

use xtfs_core::{
    ClusterId, ColumnId, Error, GroupId, Ino, Result, StripeLayout, TargetId, Timestamp, VolumeId,
};
use xtfs_proto::{Header, v1};
use xtfs_rpc::{
    Connector, DirAddresses, Directory, MrcService, OsdService, ServiceList, TargetState, call,
};

use crate::attributes::Attributes;
use crate::layout::{FileLayout, Where};

/// Every request ends within the deadline that it was made with.
#[derive(Debug)]
pub struct Admin {
    directory: Directory,
    connector: Connector,
    cluster: ClusterId,
    deadline: Duration,
}

/// A volume, as its MRC describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    pub name: String,
    pub id: VolumeId,
    pub group: GroupId,
    pub layout: StripeLayout,
    pub chown_non_root: bool,
    pub root_squash: bool,
    /// "relatime", "noatime" or "strictatime".
    pub atime: String,
    pub files: u64,
    pub bytes: u64,
    pub created: Timestamp,
}

#[derive(Clone, Debug)]
pub struct NewVolume {
    pub name: String,
    pub layout: StripeLayout,
    /// Of the root directory.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Keys as [`Admin::set_volume`] knows them.
    pub settings: BTreeMap<String, String>,
}

/// An inode as `fsck` looks at it.
#[derive(Clone, Debug)]
pub struct ScannedInode {
    pub attributes: Attributes,
    /// `None`: it has no data.
    pub layout: Option<FileLayout>,
    /// Somebody writes, or a settlement or deletion is under way.
    pub pending: bool,
}

#[derive(Clone, Debug)]
pub struct ScanPage {
    pub inodes: Vec<ScannedInode>,
    /// Columns that wait for deletion.
    pub deleting: Vec<ColumnId>,
    pub end: bool,
}

/// What a target holds of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldColumn {
    pub column: ColumnId,
    pub length: u64,
    pub allocated: u64,
    pub exists: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedColumn {
    pub column: ColumnId,
    /// First damaged byte of the column.
    pub offset: u64,
    pub cause: String,
    /// Its file is gone as a whole.
    pub missing: bool,
}

/// What an MRC has on its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MrcLoad {
    pub sessions: u64,
    pub open_files: u64,
    pub deletions_pending: u64,
    pub settlements_pending: u64,
}

impl Admin {
    pub async fn connect(dirs: &DirAddresses, deadline: Duration) -> Result<Self> {
        let connector = Connector::new();
        let directory = Directory::new(connector.clone(), dirs);
        let cluster = directory.describe(deadline).await?;
        Ok(Admin { directory, connector, cluster, deadline })
    }

    pub async fn services(&self) -> Result<ServiceList> {
        self.directory.list(self.cluster, self.deadline).await
    }

    pub async fn set_target_state(&self, target: TargetId, state: TargetState) -> Result<()> {
        let state = v1::TargetState::from(state);
        let set = |mut dir: xtfs_rpc::DirService, _left| async move {
            let request = v1::SetTargetStateRequest {
                header: Some(self.header()),
                target: target.to_wire().into(),
                state: state.into(),
            };
            dir.set_target_state(request).await
        };
        self.directory.call(self.deadline, set).await.map(drop)
    }

    /// On the MRC group with the fewest volumes.
    pub async fn create_volume(&self, new: &NewVolume) -> Result<VolumeInfo> {
        let services = self.services().await?;
        let group = match services.volume(&new.name) {
            Some(there) => there.group,
            None => emptiest_group(&services)?,
        };
        let flag = |key: &str| -> Result<bool> {
            new.settings.get(key).map_or(Ok(false), |value| parse_flag(key, value))
        };
        let policy = v1::VolumePolicy {
            layout: Some(new.layout.into()),
            chown_non_root: flag("chown_non_root")?,
            root_squash: flag("root_squash")?,
            atime: new.settings.get("atime").cloned().unwrap_or_default(),
        };
        let request = v1::CreateVolumeRequest {
            header: Some(self.header_for(group)),
            name: new.name.clone(),
            policy: Some(policy),
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
        };
        let mut mrc = self.mrc(&services, group)?;
        let reply = call(self.deadline, mrc.create_volume(request)).await?;
        required(reply.volume)
    }

    /// Volumes of all groups. A group that does not answer is an error.
    pub async fn volumes(&self) -> Result<Vec<VolumeInfo>> {
        let services = self.services().await?;
        let groups: std::collections::BTreeSet<_> =
            services.volumes.iter().map(|volume| volume.group).collect();
        let mut all = Vec::new();
        for group in groups {
            all.extend(self.volumes_of(&services, group, "").await?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub async fn volume(&self, name: &str) -> Result<VolumeInfo> {
        let services = self.services().await?;
        let group = group_of(&services, name)?;
        let found = self.volumes_of(&services, group, name).await?;
        found.into_iter().find(|volume| volume.name == name).ok_or_else(|| unknown_volume(name))
    }

    async fn volumes_of(
        &self,
        services: &ServiceList,
        group: GroupId,
        name: &str,
    ) -> Result<Vec<VolumeInfo>> {
        let header = Some(self.header_for(group));
        let request = v1::ListVolumesRequest { header, name: name.to_owned() };
        let reply = call(self.deadline, self.mrc(services, group)?.list_volumes(request)).await?;
        reply.volumes.into_iter().map(VolumeInfo::try_from).collect()
    }

    /// Refused for a volume with files unless `force` is set.
    pub async fn delete_volume(&self, name: &str, force: bool) -> Result<()> {
        let services = self.services().await?;
        let group = group_of(&services, name)?;
        let header = Some(self.header_for(group));
        let request = v1::DeleteVolumeRequest { header, name: name.to_owned(), force };
        call(self.deadline, self.mrc(&services, group)?.delete_volume(request)).await.map(drop)
    }

    /// `settings`: chown_non_root, root_squash, atime.
    pub async fn set_volume(
        &self,
        name: &str,
        settings: BTreeMap<String, String>,
    ) -> Result<VolumeInfo> {
        let services = self.services().await?;
        let group = group_of(&services, name)?;
        let request = v1::SetVolumeRequest {
            header: Some(self.header_for(group)),
            name: name.to_owned(),
            settings: settings.into_iter().collect(),
        };
        let reply = call(self.deadline, self.mrc(&services, group)?.set_volume(request)).await?;
        required(reply.volume)
    }

    pub async fn where_is(&self, volume: &VolumeInfo, ino: Ino) -> Result<Where> {
        let request = self.inode_request(volume, ino);
        let reply = call(self.deadline, self.mrc_now(volume.group).await?.r#where(request)).await?;
        reply.try_into()
    }

    /// What new files in the directory get.
    pub async fn set_default_layout(
        &self,
        volume: &VolumeInfo,
        ino: Ino,
        layout: StripeLayout,
    ) -> Result<()> {
        let request = v1::SetDefaultLayoutRequest {
            header: Some(self.header_for(volume.group)),
            volume: volume.id.0,
            ino: ino.0,
            layout: Some(layout.into()),
        };
        let mut mrc = self.mrc_now(volume.group).await?;
        call(self.deadline, mrc.set_default_layout(request)).await.map(drop)
    }

    /// Inodes after `after`, in order.
    pub async fn scan(&self, volume: &VolumeInfo, after: Ino, limit: u32) -> Result<ScanPage> {
        let request = v1::ScanRequest {
            header: Some(self.header_for(volume.group)),
            volume: volume.id.0,
            after: after.0,
            limit,
        };
        let reply = call(self.deadline, self.mrc_now(volume.group).await?.scan(request)).await?;
        let inodes = reply.entries.into_iter().map(ScannedInode::try_from);
        let deleting = reply.deleting.into_iter().map(ColumnId::try_from);
        Ok(ScanPage {
            inodes: inodes.collect::<Result<_>>()?,
            deleting: deleting.collect::<Result<_>>()?,
            end: reply.end,
        })
    }

    /// From the volume's root, one of them if it has several.
    pub async fn path_of(&self, volume: &VolumeInfo, ino: Ino) -> Result<String> {
        let request = self.inode_request(volume, ino);
        let reply = call(self.deadline, self.mrc_now(volume.group).await?.path_of(request)).await?;
        Ok(String::from_utf8_lossy(&reply.path).into_owned())
    }

    /// Settles the size of a file anew, cutting what its columns hold beyond it.
    pub async fn set_size(&self, volume: &VolumeInfo, ino: Ino, size: u64) -> Result<()> {
        let request = v1::SetAttrRequest {
            header: Some(self.header_for(volume.group)),
            volume: volume.id.0,
            ino: ino.0,
            size: Some(size),
            ..Default::default()
        };
        call(self.deadline, self.mrc_now(volume.group).await?.set_attr(request)).await.map(drop)
    }

    pub async fn mrc_load(&self, services: &ServiceList, group: GroupId) -> Result<MrcLoad> {
        let request = v1::StatusRequest { header: Some(self.header_for(group)) };
        let reply = call(self.deadline, self.mrc(services, group)?.status(request)).await?;
        Ok(MrcLoad {
            sessions: reply.sessions,
            open_files: reply.open_files,
            deletions_pending: reply.deletions_pending,
            settlements_pending: reply.settlements_pending,
        })
    }

    /// Columns of `volume` on `target` after `after`, in order, and whether these are the last.
    pub async fn columns(
        &self,
        services: &ServiceList,
        target: TargetId,
        volume: VolumeId,
        after: Option<ColumnId>,
        limit: u32,
    ) -> Result<(Vec<ColumnId>, bool)> {
        let request = v1::ListColumnsRequest {
            header: Some(self.header()),
            target: target.to_wire().into(),
            after: after.map(Into::into),
            limit,
            volume: volume.0,
        };
        let reply = call(self.deadline, self.osd(services, target)?.list(request)).await?;
        let held = reply.columns.into_iter().map(HeldColumn::try_from);
        let columns = held.map(|held| held.map(|held| held.column)).collect::<Result<_>>()?;
        Ok((columns, reply.end))
    }

    pub async fn stat_columns(
        &self,
        services: &ServiceList,
        target: TargetId,
        columns: &[ColumnId],
    ) -> Result<Vec<HeldColumn>> {
        let request = v1::StatRequest {
            header: Some(self.header()),
            target: target.to_wire().into(),
            columns: columns.iter().copied().map(Into::into).collect(),
        };
        let reply = call(self.deadline, self.osd(services, target)?.stat(request)).await?;
        reply.columns.into_iter().map(HeldColumn::try_from).collect()
    }

    /// Reads the columns from disk and checks every sum. Only damaged ones come back.
    pub async fn verify_columns(
        &self,
        services: &ServiceList,
        target: TargetId,
        columns: &[ColumnId],
    ) -> Result<Vec<DamagedColumn>> {
        let request = v1::VerifyRequest {
            header: Some(self.header()),
            target: target.to_wire().into(),
            columns: columns.iter().copied().map(Into::into).collect(),
        };
        let reply = call(self.deadline, self.osd(services, target)?.verify(request)).await?;
        reply.damages.into_iter().map(DamagedColumn::try_from).collect()
    }

    pub async fn delete_columns(
        &self,
        services: &ServiceList,
        target: TargetId,
        columns: &[ColumnId],
    ) -> Result<()> {
        let request = v1::DeleteRequest {
            header: Some(self.header()),
            target: target.to_wire().into(),
            columns: columns.iter().copied().map(Into::into).collect(),
            never_used: Vec::new(),
        };
        call(self.deadline, self.osd(services, target)?.delete(request)).await.map(drop)
    }

    fn header(&self) -> v1::RequestHeader {
        Header { deadline: Some(self.deadline), ..Header::new(Some(self.cluster)) }.into()
    }

    fn header_for(&self, group: GroupId) -> v1::RequestHeader {
        v1::RequestHeader { group: group.0, ..self.header() }
    }

    fn inode_request(&self, volume: &VolumeInfo, ino: Ino) -> v1::InodeRequest {
        let header = Some(self.header_for(volume.group));
        v1::InodeRequest { header, volume: volume.id.0, ino: ino.0 }
    }

    async fn mrc_now(&self, group: GroupId) -> Result<MrcService> {
        self.mrc(&self.services().await?, group)
    }

    fn mrc(&self, services: &ServiceList, group: GroupId) -> Result<MrcService> {
        let address = services.group(group).into_iter().flat_map(|mrc| &mrc.addresses).next();
        let address = address.ok_or_else(|| {
            Error::Unavailable(format!("no MRC of group {group} has registered; start xtfs-mrc"))
        })?;
        Ok(self.connector.mrc(address))
    }

    fn osd(&self, services: &ServiceList, target: TargetId) -> Result<OsdService> {
        let address = services.target(target).and_then(|target| target.addresses.first());
        let address = address
            .ok_or_else(|| Error::Unavailable(format!("the DIR does not know target {target}")))?;
        Ok(self.connector.osd(address))
    }
}

fn emptiest_group(services: &ServiceList) -> Result<GroupId> {
    let volumes = |group| services.volumes.iter().filter(|volume| volume.group == group).count();
    let alive = services.mrcs.iter().filter(|mrc| mrc.alive);
    let emptiest = alive.min_by_key(|mrc| (volumes(mrc.group), mrc.group));
    emptiest
        .map(|mrc| mrc.group)
        .ok_or_else(|| Error::Unavailable("no MRC is alive; start xtfs-mrc".into()))
}

fn group_of(services: &ServiceList, volume: &str) -> Result<GroupId> {
    services.volume(volume).map(|record| record.group).ok_or_else(|| unknown_volume(volume))
}

fn unknown_volume(name: &str) -> Error {
    Error::Invalid(format!("there is no volume {name:?}; xtfs volume ls shows those that exist"))
}

fn parse_flag(key: &str, value: &str) -> Result<bool> {
    value.parse().map_err(|_| Error::Invalid(format!("{key} is true or false, not {value:?}")))
}

fn required(volume: Option<v1::Volume>) -> Result<VolumeInfo> {
    volume.ok_or_else(|| Error::WrongProtocol("a reply without its volume".into()))?.try_into()
}

impl TryFrom<v1::Volume> for VolumeInfo {
    type Error = Error;

    fn try_from(wire: v1::Volume) -> Result<Self> {
        let policy = wire.policy.unwrap_or_default();
        let layout = policy
            .layout
            .ok_or_else(|| Error::WrongProtocol("a volume without a layout".into()))?;
        Ok(VolumeInfo {
            name: wire.name,
            id: VolumeId(wire.id),
            group: GroupId(wire.group),
            layout: layout.try_into()?,
            chown_non_root: policy.chown_non_root,
            root_squash: policy.root_squash,
            atime: policy.atime,
            files: wire.files,
            bytes: wire.bytes,
            created: Timestamp(wire.created_ns),
        })
    }
}

impl TryFrom<v1::ScanEntry> for ScannedInode {
    type Error = Error;

    fn try_from(wire: v1::ScanEntry) -> Result<Self> {
        let attributes = wire
            .attributes
            .ok_or_else(|| Error::WrongProtocol("an inode without attributes".into()))?;
        Ok(ScannedInode {
            attributes: attributes.try_into()?,
            layout: wire.layout.map(FileLayout::try_from).transpose()?,
            pending: wire.pending,
        })
    }
}

impl TryFrom<v1::ColumnStat> for HeldColumn {
    type Error = Error;

    fn try_from(wire: v1::ColumnStat) -> Result<Self> {
        Ok(HeldColumn {
            column: required_column(wire.column)?,
            length: wire.length,
            allocated: wire.allocated,
            exists: wire.exists,
        })
    }
}

impl TryFrom<v1::Damage> for DamagedColumn {
    type Error = Error;

    fn try_from(wire: v1::Damage) -> Result<Self> {
        let column = required_column(wire.column)?;
        Ok(DamagedColumn { column, offset: wire.offset, cause: wire.cause, missing: wire.missing })
    }
}

fn required_column(wire: Option<v1::ColumnId>) -> Result<ColumnId> {
    wire.ok_or_else(|| Error::WrongProtocol("a column without its id".into()))?.try_into()
}

impl TryFrom<v1::WhereReply> for Where {
    type Error = Error;

    fn try_from(wire: v1::WhereReply) -> Result<Self> {
        let attributes = wire
            .attributes
            .ok_or_else(|| Error::WrongProtocol("an inode without attributes".into()))?;
        Ok(Where {
            attributes: attributes.try_into()?,
            layout: wire.layout.map(FileLayout::try_from).transpose()?,
            default_layout: wire.default_layout.map(StripeLayout::try_from).transpose()?,
        })
    }
}
