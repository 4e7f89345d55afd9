//! Where a file's columns are.

use xtfs_core::{
    ColumnId, ColumnIndex, DataNumber, DataVersion, Error, ReplicaSetId, Result, SetEpoch,
    StripeLayout, TargetId, VolumeId,
};
use xtfs_proto::v1;

use crate::attributes::Attributes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLayout {
    pub striping: StripeLayout,
    pub data: DataNumber,
    pub version: DataVersion,
    /// One for each column.
    pub sets: Vec<ReplicaSet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    pub id: ReplicaSetId,
    pub epoch: SetEpoch,
    /// The first is the primary.
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub target: TargetId,
    pub in_sync: bool,
}

/// What `xtfs where` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    pub attributes: Attributes,
    /// `None`: a file without data, or no file.
    pub layout: Option<FileLayout>,
    /// Of a directory: what its new files get.
    pub default_layout: Option<StripeLayout>,
}

impl FileLayout {
    pub fn column(&self, volume: VolumeId, index: ColumnIndex) -> ColumnId {
        ColumnId { volume, data: self.data, index, version: self.version }
    }

    pub fn set(&self, index: ColumnIndex) -> &ReplicaSet {
        &self.sets[usize::from(index.0)]
    }
}

impl ReplicaSet {
    pub fn primary(&self) -> TargetId {
        self.members[0].target
    }
}

impl TryFrom<v1::FileLayout> for FileLayout {
    type Error = Error;

    fn try_from(wire: v1::FileLayout) -> Result<Self> {
        let striping = wire.striping.ok_or_else(|| broken("no striping"))?;
        let striping = StripeLayout::try_from(striping)?;
        let sets: Vec<_> =
            wire.sets.into_iter().map(ReplicaSet::try_from).collect::<Result<_>>()?;
        if sets.len() != usize::from(striping.stripe_width()) {
            return Err(broken("not one replica set for each column"));
        }
        let version = DataVersion(wire.version);
        Ok(FileLayout { striping, data: DataNumber(wire.data), version, sets })
    }
}

impl TryFrom<v1::ReplicaSet> for ReplicaSet {
    type Error = Error;

    fn try_from(wire: v1::ReplicaSet) -> Result<Self> {
        let member = |member: v1::Member| {
            let in_sync = member.state() == v1::MemberState::InSync;
            Ok(Member { target: TargetId::from_wire(&member.target)?, in_sync })
        };
        let members: Vec<_> = wire.members.into_iter().map(member).collect::<Result<_>>()?;
        if members.is_empty() {
            return Err(broken("a replica set without members"));
        }
        Ok(ReplicaSet { id: ReplicaSetId(wire.id), epoch: SetEpoch(wire.epoch), members })
    }
}

fn broken(what: &str) -> Error {
    Error::WrongProtocol(format!("a file layout with {what}"))
}
