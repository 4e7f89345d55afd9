//! Volumes: made, changed, listed, removed.

use std::sync::Arc;

use xtfs_core::{Error, Result, StripeLayout, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::command::{CreateVolume, DeleteVolume, SetVolume};
use crate::state::volume::Setting;
use crate::state::{Action, Answer, Volume};

/// Claims the name at the DIR first. Asked again it gives the same volume.
pub(crate) async fn create_volume(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::CreateVolumeRequest,
) -> Result<v1::VolumeReply> {
    check_name(&request.name)?;
    let policy = request.policy.ok_or_else(|| Error::Invalid("no policy is given".into()))?;
    let policy = encode::policy_from(policy)?;
    check_width(&mrc, policy.layout).await?;
    let id = claim(&mrc, &request.name, &call).await?;
    let action = Action::CreateVolume(CreateVolume {
        name: request.name,
        policy,
        mode: request.mode,
        uid: request.uid,
        gid: request.gid,
    });
    let (answer, log) = mrc.change(&call, id, action).await?;
    volume_reply(&mrc, answer, log)
}

/// The name is free at once; the files go in the background.
pub(crate) async fn delete_volume(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::DeleteVolumeRequest,
) -> Result<v1::DoneReply> {
    let volume = named(&mrc, &request.name)?;
    let _changing = mrc.exclude_all(&call, volume.id).await?;
    let action =
        Action::DeleteVolume(DeleteVolume { name: request.name.clone(), force: request.force });
    let (_, log) = mrc.change(&call, volume.id, action).await?;
    // The command is durable: whoever takes the name now gets a new volume.
    mrc.release_volume(&request.name, volume.id, call.left()).await?;
    mrc.wake.purge.notify_one();
    Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
}

pub(crate) async fn list_volumes(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::ListVolumesRequest,
) -> Result<v1::ListVolumesReply> {
    let log = mrc.barrier(&call).await?;
    let mut volumes = Vec::new();
    for volume in mrc.view(|view| view.volumes())? {
        let asked = request.name.is_empty() || request.name == volume.name;
        if asked && volume.purged.is_none() {
            let usage = mrc.view(|view| view.any_volume(volume.id)?.usage())?;
            volumes.push(encode::volume(&volume, usage, mrc.group.0));
        }
    }
    if volumes.is_empty() && !request.name.is_empty() {
        return Err(unknown(&request.name));
    }
    Ok(v1::ListVolumesReply { log: Some(log), volumes })
}

pub(crate) async fn set_volume(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SetVolumeRequest,
) -> Result<v1::VolumeReply> {
    let settings = request.settings.iter().map(|(key, value)| Setting::parse(key, value));
    let settings = settings.collect::<Result<Vec<_>>>()?;
    let volume = named(&mrc, &request.name)?;
    // What clients may keep, and how they judge, can be another then.
    let _changing = mrc.exclude_all(&call, volume.id).await?;
    let action = Action::SetVolume(SetVolume { name: request.name, settings });
    let (answer, log) = mrc.change(&call, volume.id, action).await?;
    // Also what was given meanwhile, under the old policy.
    let _changed = mrc.exclude_all(&call, volume.id).await?;
    volume_reply(&mrc, answer, log)
}

/// A width that no file could have now is a slip of the pen.
pub(crate) async fn check_width(mrc: &Mrc, layout: StripeLayout) -> Result<()> {
    let targets = mrc.targets_registered().await;
    let width = layout.stripe_width();
    if usize::from(width) > targets {
        return Err(Error::Invalid(format!(
            "stripe width {width} is more than the {targets} registered OSDs; \
             choose a smaller width or start more OSDs first"
        )));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let odd = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    if name.is_empty() || name.contains(odd) || name.starts_with(['.', '-']) {
        return Err(Error::Invalid(format!(
            "{name:?} cannot name a volume: use letters, digits and - _ . inside"
        )));
    }
    if name.len() > xtfs_core::NAME_MAX { Err(Error::NameTooLong) } else { Ok(()) }
}

fn volume_reply(mrc: &Mrc, answer: Answer, log: v1::LogStatus) -> Result<v1::VolumeReply> {
    let Answer::Volume(volume) = answer else {
        return Err(Error::Internal(format!("a change of a volume answered {answer:?}")));
    };
    let usage = mrc.view(|view| view.any_volume(volume.id)?.usage())?;
    let volume = encode::volume(&volume, usage, mrc.group.0);
    Ok(v1::VolumeReply { log: Some(log), volume: Some(volume) })
}

/// The id that the DIR gives with the name. One that belongs to a volume that was deleted is given back
/// first: the MRC had stopped in between.
async fn claim(mrc: &Mrc, name: &str, call: &Call) -> Result<VolumeId> {
    let id = mrc.claim_volume(name, call.left()).await?;
    let deleted = mrc.view(|view| match view.any_volume(id) {
        Ok(known) => Ok(known.volume().purged.is_some()),
        Err(Error::NotFound) => Ok(false),
        Err(err) => Err(err),
    })?;
    if !deleted {
        return Ok(id);
    }
    mrc.release_volume(name, id, call.left()).await?;
    mrc.claim_volume(name, call.left()).await
}

fn named(mrc: &Mrc, name: &str) -> Result<Volume> {
    match mrc.view(|view| Ok(view.volume_named(name)?.volume().clone())) {
        Err(Error::NotFound) => Err(unknown(name)),
        found => found,
    }
}

fn unknown(name: &str) -> Error {
    Error::Invalid(format!("there is no volume {name:?}; see lsfs.xtfs"))
}
