//! The state's types on the wire.

use xtfs_core::{ColumnIndex, Error, FileEpoch, Result, StripeLayout, Timestamp};
use xtfs_proto::v1;

use crate::state::command::WriteReport;
use crate::state::inode::{Member, MemberState, ReplicaSet};
use crate::state::volume::{Atime, Usage};
use crate::state::{Attributes, FileKind, LockKind, Volume, VolumePolicy};

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
