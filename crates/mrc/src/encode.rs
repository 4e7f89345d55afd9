//! The state's types on the wire.

use xtfs_core::{ColumnIndex, Error, FileEpoch, Ino, Result, StripeLayout, Timestamp, VolumeId};
use xtfs_proto::v1;

use crate::leases::{Grant, Recall};
use crate::state::command::WriteReport;
use crate::state::inode::{Member, MemberState, ReplicaSet};
use crate::state::view::Entry;
use crate::state::volume::{Atime, Usage};
use crate::state::{Attributes, FileKind, Inode, LockKind, Volume, VolumePolicy};

pub(crate) fn attributes(seen: &Attributes) -> v1::Attributes {
    v1::Attributes {
        ino: seen.ino.0,
        generation: seen.generation,
        kind: kind(seen.kind).into(),
        mode: seen.mode,
        uid: seen.uid,
        gid: seen.gid,
        nlink: seen.nlink,
        size: seen.size,
        allocated: seen.allocated,
        atime_ns: seen.atime.0,
        mtime_ns: seen.mtime.0,
        ctime_ns: seen.ctime.0,
        btime_ns: seen.btime.0,
        change: seen.change,
        rdev: seen.rdev,
        stripe_size: u32::try_from(seen.stripe_size).unwrap_or(u32::MAX),
    }
}

/// A directory or file with what goes with it.
pub(crate) fn known(seen: &Inode, lease: v1::Lease) -> v1::Known {
    let attributes = Some(attributes(&seen.attributes()));
    v1::Known { ino: seen.ino.0, attributes, lease: Some(lease) }
}

pub(crate) fn recall(recall: Recall) -> v1::Recall {
    v1::Recall { ino: recall.object.1.0, grant: recall.up_to.0 }
}

pub(crate) fn recall_from(volume: VolumeId, recall: v1::Recall) -> Recall {
    Recall { object: (volume, Ino(recall.ino)), up_to: Grant(recall.grant) }
}

/// Without what its inode is like.
pub(crate) fn entry(entry: &Entry) -> v1::DirectoryEntry {
    v1::DirectoryEntry {
        name: entry.name.clone().into(),
        ino: entry.ino.0,
        kind: kind(entry.kind).into(),
        cookie: entry.cookie,
        attributes: None,
        lease: None,
    }
}

pub(crate) fn kind(kind: FileKind) -> v1::FileKind {
    match kind {
        FileKind::File => v1::FileKind::File,
        FileKind::Directory => v1::FileKind::Directory,
        FileKind::Symlink => v1::FileKind::Symlink,
        FileKind::Fifo => v1::FileKind::Fifo,
        FileKind::Socket => v1::FileKind::Socket,
        FileKind::CharDevice => v1::FileKind::CharDevice,
        FileKind::BlockDevice => v1::FileKind::BlockDevice,
    }
}

pub(crate) fn kind_from(wire: v1::FileKind) -> Result<FileKind> {
    match wire {
        v1::FileKind::File => Ok(FileKind::File),
        v1::FileKind::Directory => Ok(FileKind::Directory),
        v1::FileKind::Symlink => Ok(FileKind::Symlink),
        v1::FileKind::Fifo => Ok(FileKind::Fifo),
        v1::FileKind::Socket => Ok(FileKind::Socket),
        v1::FileKind::CharDevice => Ok(FileKind::CharDevice),
        v1::FileKind::BlockDevice => Ok(FileKind::BlockDevice),
        v1::FileKind::Unspecified => Err(Error::Invalid("no kind of file is given".into())),
    }
}

pub(crate) fn volume(volume: &Volume, usage: Usage, group: u32) -> v1::Volume {
    v1::Volume {
        name: volume.name.clone(),
        id: volume.id.0,
        group,
        policy: Some(policy(&volume.policy)),
        files: usage.files,
        bytes: usage.bytes,
        created_ns: volume.created.0,
    }
}

fn policy(policy: &VolumePolicy) -> v1::VolumePolicy {
    v1::VolumePolicy {
        layout: Some(policy.layout.into()),
        chown_non_root: policy.chown_non_root,
        root_squash: policy.root_squash,
        atime: policy.atime.name().to_owned(),
    }
}

pub(crate) fn policy_from(wire: v1::VolumePolicy) -> Result<VolumePolicy> {
    let layout = wire.layout.ok_or_else(|| Error::Invalid("the policy has no layout".into()))?;
    Ok(VolumePolicy {
        layout: StripeLayout::try_from(layout)?,
        chown_non_root: wire.chown_non_root,
        root_squash: wire.root_squash,
        atime: match wire.atime.as_str() {
            "" => Atime::Relatime,
            named => named.parse()?,
        },
    })
}

pub(crate) fn replica_set(set: &ReplicaSet) -> v1::ReplicaSet {
    v1::ReplicaSet {
        id: set.id.0,
        epoch: set.epoch.0,
        members: set.members.iter().map(member).collect(),
    }
}

fn member(member: &Member) -> v1::Member {
    let state = match member.state {
        MemberState::InSync => v1::MemberState::InSync,
        MemberState::Syncing => v1::MemberState::Syncing,
    };
    v1::Member { target: member.target.to_wire().into(), state: state.into() }
}

pub(crate) fn write_report(wire: v1::WriteReport) -> Result<WriteReport> {
    let column = |column: v1::ColumnReport| {
        let index = u16::try_from(column.index)
            .map_err(|_| Error::Invalid(format!("column index {}", column.index)))?;
        Ok((ColumnIndex(index), column.allocated))
    };
    Ok(WriteReport {
        file_epoch: FileEpoch(wire.file_epoch),
        end: wire.end,
        mtime: Timestamp(wire.mtime_ns),
        allocated: wire.columns.into_iter().map(column).collect::<Result<_>>()?,
    })
}
pub(crate) fn lock_kind(kind: LockKind) -> v1::LockKind {
    match kind {
        LockKind::Shared => v1::LockKind::Shared,
        LockKind::Exclusive => v1::LockKind::Exclusive,
    }
}

pub(crate) fn lock_kind_from(kind: v1::LockKind) -> Result<LockKind> {
    match kind {
        v1::LockKind::Shared => Ok(LockKind::Shared),
        v1::LockKind::Exclusive => Ok(LockKind::Exclusive),
        v1::LockKind::Unspecified | v1::LockKind::Unlock => {
            Err(Error::Invalid("kind of a lock".into()))
        }
    }
}
