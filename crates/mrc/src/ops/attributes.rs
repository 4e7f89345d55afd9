//! What an inode is: looked up, asked, changed.

use std::sync::Arc;

use xtfs_core::access::{Identity, Wanted};
use xtfs_core::{Ino, Result, Timestamp, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::command::{SetAttr, SetTime};

pub(crate) async fn lookup(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LookupRequest,
) -> Result<v1::InodeReply> {
    let log = mrc.barrier(&call).await?;
    let volume = VolumeId(request.volume);
    let caller = Identity::from(call.header.caller.clone());
    let inode =
        mrc.view(|view| view.volume(volume)?.lookup(&caller, Ino(request.parent), &request.name))?;
    let seen = mrc.seen(&call, volume, &inode).await?;
    Ok(v1::InodeReply { log: Some(log), attributes: Some(encode::attributes(&seen)) })
}

pub(crate) async fn get_attr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::GetAttrRequest,
) -> Result<v1::InodeReply> {
    let log = mrc.barrier(&call).await?;
    let volume = VolumeId(request.volume);
    let report = request.report.map(encode::write_report).transpose()?;
    let inode = mrc.inode(volume, Ino(request.ino))?;
    let seen = mrc.seen_by_writer(&call, volume, &inode, report.as_ref()).await?;
    Ok(v1::InodeReply { log: Some(log), attributes: Some(encode::attributes(&seen)) })
}

pub(crate) async fn access(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::AccessRequest,
) -> Result<v1::DoneReply> {
    let log = mrc.barrier(&call).await?;
    let caller = Identity::from(call.header.caller.clone());
    let wanted = Wanted::from_mask(request.mask);
    mrc.view(|view| {
        view.volume(VolumeId(request.volume))?.access(&caller, Ino(request.ino), wanted)
    })?;
    Ok(v1::DoneReply { log: Some(log) })
}

/// What columns or writers must know of is sealed before it is answered (R6, R12).
pub(crate) async fn set_attr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SetAttrRequest,
) -> Result<v1::InodeReply> {
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let mut set = SetAttr {
        ino,
        mode: request.mode,
        uid: request.uid,
        gid: request.gid,
        size: None,
        atime: time(request.atime_ns, request.atime_now),
        mtime: time(request.mtime_ns, request.mtime_now),
        by_handle: request.by_handle,
        kill_set_ids: request.kill_suid_sgid,
        columns_mtime: None,
    };
    let report = request.report.map(encode::write_report).transpose()?;
    if set.mtime.is_some() {
        set.columns_mtime = mrc.columns_mtime(&call, volume, ino, report.as_ref()).await?;
    }
    let (inode, log) = mrc.set_attr(&call, volume, set, request.size).await?;
    let seen = mrc.seen_by_writer(&call, volume, &inode, report.as_ref()).await?;
    Ok(v1::InodeReply { log: Some(log), attributes: Some(encode::attributes(&seen)) })
}

fn time(to: Option<i64>, now: bool) -> Option<SetTime> {
    if now { Some(SetTime::Now) } else { to.map(|ns| SetTime::To(Timestamp(ns))) }
}
