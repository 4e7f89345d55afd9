//! Extended attributes.

use std::sync::Arc;

use xtfs_core::access::Identity;
use xtfs_core::{Error, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::Action;
use crate::state::command::{RemoveXattr, SetXattr, XattrMode};

pub(crate) async fn get_xattr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::GetXattrRequest,
) -> Result<v1::XattrReply> {
    let log = mrc.barrier(&call).await?;
    let caller = Identity::from(call.header.caller.clone());
    let volume = VolumeId(request.volume);
    let value =
        mrc.view(|view| view.volume(volume)?.xattr(&caller, Ino(request.ino), &request.name))?;
    Ok(v1::XattrReply { log: Some(log), value: value.into() })
}

pub(crate) async fn list_xattr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::InodeRequest,
) -> Result<v1::ListXattrReply> {
    let log = mrc.barrier(&call).await?;
    let caller = Identity::from(call.header.caller.clone());
    let names =
        mrc.view(|view| view.volume(VolumeId(request.volume))?.xattrs(&caller, Ino(request.ino)))?;
    Ok(v1::ListXattrReply { log: Some(log), names: names.into_iter().map(Into::into).collect() })
}

pub(crate) async fn set_xattr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SetXattrRequest,
) -> Result<v1::DoneReply> {
    let mode = match (request.create, request.replace) {
        (false, false) => XattrMode::Set,
        (true, false) => XattrMode::Create,
        (false, true) => XattrMode::Replace,
        (true, true) => {
            return Err(Error::Invalid("create and replace exclude each other".into()));
        }
    };
    let ino = Ino(request.ino);
    let action = Action::SetXattr(SetXattr {
        ino,
        name: request.name.into(),
        value: request.value.into(),
        mode,
    });
    mrc.change_known(&call, VolumeId(request.volume), &[ino], action).await
}

pub(crate) async fn remove_xattr(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::RemoveXattrRequest,
) -> Result<v1::DoneReply> {
    let ino = Ino(request.ino);
    let remove = RemoveXattr { ino, name: request.name.into() };
    mrc.change_known(&call, VolumeId(request.volume), &[ino], Action::RemoveXattr(remove)).await
}
