//! Where a file's columns are, and the right to them.

use xtfs_core::capability::{Capability, Rights};
use xtfs_core::{ColumnId, Error, Result, SessionId, TargetId, VolumeId};
use xtfs_proto::v1;

use super::{GRANT_EXPIRY, Mrc};
use crate::encode;
use crate::state::inode::ReplicaSet;
use crate::state::{Inode, Layout};

impl Mrc {
    pub(crate) fn sets_of(&self, layout: &Layout) -> Result<Vec<ReplicaSet>> {
        self.view(|view| layout.sets.iter().map(|&set| view.replica_set(set)).collect())
    }

    /// Columns of a layout with the targets that know them.
    pub(crate) fn placed_columns(
        &self,
        volume: VolumeId,
        layout: &Layout,
    ) -> Result<Vec<(TargetId, ColumnId)>> {
        let sets = self.sets_of(layout)?;
        let primary = |(column, set): (ColumnId, &ReplicaSet)| match set.members.first() {
            Some(primary) => Ok((primary.target, column)),
            None => Err(Error::Corrupt(format!("replica set {} has no member", set.id))),
        };
        columns(volume, layout).zip(&sets).map(primary).collect()
    }

    pub(crate) fn file_layout(&self, layout: &Layout) -> Result<v1::FileLayout> {
        Ok(v1::FileLayout {
            striping: Some(layout.striping.into()),
            data: layout.data.0,
            version: layout.version.0,
            sets: self.sets_of(layout)?.iter().map(encode::replica_set).collect(),
        })
    }

    pub(crate) fn grant(
        &self,
        session: SessionId,
        volume: VolumeId,
        inode: &Inode,
        layout: &Layout,
        write: bool,
    ) -> Result<v1::Grant> {
        let capability = Capability {
            volume,
            data: layout.data,
            version: layout.version,
            layout: layout.striping,
            rights: if write { Rights::ReadWrite } else { Rights::Read },
            file_epoch: inode.file_epoch,
            floor: inode.floor,
            session,
            expires: self.time.now().plus(GRANT_EXPIRY),
        };
        let keys = self.keys.borrow();
        let newest = keys.iter().max_by_key(|key| key.id).ok_or_else(|| {
            Error::Unavailable("the DIR has given this MRC no key yet to sign with".into())
        })?;
        Ok(v1::Grant {
            capability: capability.sign(newest).into(),
            file_epoch: inode.file_epoch.0,
            floor: inode.floor.0,
            valid_ms: u32::try_from(GRANT_EXPIRY.as_millis()).unwrap_or(u32::MAX),
            write,
        })
    }
}

pub(crate) fn columns(volume: VolumeId, layout: &Layout) -> impl Iterator<Item = ColumnId> + use<> {
    let (data, version) = (layout.data, layout.version);
    layout.striping.columns().map(move |index| ColumnId { volume, data, index, version })
}
