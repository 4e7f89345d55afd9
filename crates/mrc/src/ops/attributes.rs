//! What an inode is: looked up, asked, changed.

use std::sync::Arc;

use xtfs_core::access::{Identity, Wanted};
use xtfs_core::{Error, Ino, Result, Timestamp, VolumeId};
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
    let parent = Ino(request.parent);
    let caller = Identity::from(call.header.caller.clone());
    let promise = mrc.promise(&call, volume, parent);
    let (directory, found, policy) = mrc.view(|view| {
        let volume = view.volume(volume)?;
        let (directory, found) = volume.find(&caller, parent, &request.name)?;
        Ok((directory, found, volume.volume().policy))
    })?;
    let lease = promise.keep(&directory, &policy);
    let known: Vec<_> = lease.map(|lease| encode::known(&directory, lease)).into_iter().collect();
    let Some(ino) = found else {
        // That there is none can be told only with what says how long that holds.
        if known.is_empty() {
            return Err(Error::NotFound);
        }
        return Ok(v1::InodeReply { log: Some(log), known, ..Default::default() });
    };
    let _looking = mrc.look_for(&call, volume, ino).await?;
    let promise = mrc.promise(&call, volume, ino);
    let (inode, policy) = mrc.look(volume, ino)?;
    let seen = mrc.seen(&call, volume, &inode).await?;
    Ok(v1::InodeReply {
        log: Some(log),
        attributes: Some(encode::attributes(&seen.attributes())),
        lease: promise
            .keep(&seen, &policy)
            .map(|lease| mrc.with_right(&call, volume, &seen, lease)),
        known,
    })
}

pub(crate) async fn get_attr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::GetAttrRequest,
) -> Result<v1::InodeReply> {
    let log = mrc.barrier(&call).await?;
    let volume = VolumeId(request.volume);
    let report = request.report.map(encode::write_report).transpose()?;
    let ino = Ino(request.ino);
    let _looking = mrc.look_for(&call, volume, ino).await?;
    let promise = mrc.promise(&call, volume, ino);
    let (inode, policy) = mrc.look(volume, ino)?;
    let seen = mrc.seen_by_writer(&call, volume, &inode, report.as_ref()).await?;
    Ok(v1::InodeReply {
        log: Some(log),
        attributes: Some(encode::attributes(&seen.attributes())),
        lease: promise.keep(&seen, &policy),
        known: Vec::new(),
    })
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
    Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
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
    let _changing = mrc.exclude(&call, volume, [ino]).await?;
    if set.mtime.is_some() {
        set.columns_mtime = mrc.columns_mtime(&call, volume, ino, report.as_ref()).await?;
    }
    let (inode, log) = mrc.set_attr(&call, volume, set, request.size).await?;
    let mut reply = v1::InodeReply { log: Some(log), ..Default::default() };
    match mrc.known_one(&call, volume, ino, report.as_ref()) {
        Some(known) => (reply.attributes, reply.lease) = (known.attributes, known.lease),
        None => {
            let seen = mrc.seen_by_writer(&call, volume, &inode, report.as_ref()).await?;
            reply.attributes = Some(encode::attributes(&seen.attributes()));
        }
    }
    Ok(reply)
}

fn time(to: Option<i64>, now: bool) -> Option<SetTime> {
    if now { Some(SetTime::Now) } else { to.map(|ns| SetTime::To(Timestamp(ns))) }
}
