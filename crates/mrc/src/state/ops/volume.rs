//! Volumes are made, changed and deleted.

use xtfs_core::access::{Identity, MODE_MASK};
use xtfs_core::{Error, Ino, Result, VolumeId};

use crate::state::command::{Answer, CreateVolume, DeleteVolume, SetVolume};
use crate::state::inode::{DIRECTORY_SIZE, FileKind, Inode};
use crate::state::keys::{Keys, load, store};
use crate::state::machine::Group;
use crate::state::rows::Rows;
use crate::state::volume::{VOLUME_NAME_MAX, Volume};

/// `id` is what the DIR gave with the name. Zero: the next of this group, where there is no DIR.
pub(in crate::state) fn create(
    group: &mut Group<'_, '_>,
    id: VolumeId,
    create: CreateVolume,
) -> Result<Answer> {
    let CreateVolume { name, policy, mode, uid, gid } = create;
    check_volume_name(&name)?;
    let name_key = group.keys.volume_name(&name);
    if load::<VolumeId>(group.tx, &name_key)?.is_some() {
        return Err(Error::Exists);
    }
    let id = match id {
        VolumeId(0) => {
            group.counters.volumes += 1;
            VolumeId::new(group.id, group.counters.volumes)
        }
        given => given,
    };
    if load::<Volume>(group.tx, &group.keys.volume(id))?.is_some() {
        return Err(Error::Busy(format!("volume {name:?} is still being deleted; try again")));
    }
    let volume = Volume { id, name, policy, created: group.now, purged: None };
    store(group.tx, &name_key, &id)?;
    store(group.tx, &group.keys.volume(id), &volume)?;
    let root = Inode {
        kind: FileKind::Directory,
        mode: mode & MODE_MASK,
        uid,
        gid,
        nlink: 2,
        size: DIRECTORY_SIZE,
        parent: Ino::ROOT,
        ..Inode::blank(Ino::ROOT, group.now)
    };
    group.change(volume.clone(), Identity::ROOT, None).put_inode(&root)?;
    Ok(Answer::Volume(volume))
}

fn check_volume_name(name: &str) -> Result<()> {
    if name.len() > VOLUME_NAME_MAX {
        return Err(Error::NameTooLong);
    }
    let is_dots = name == "." || name == "..";
    if name.is_empty() || is_dots || name.contains('/') || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("{name:?} is no name for a volume")));
    }
    Ok(())
}

pub(in crate::state) fn set(group: &mut Group<'_, '_>, set: SetVolume) -> Result<Answer> {
    let mut volume = named(group, &set.name)?;
    for setting in set.settings {
        volume.policy.set(setting);
    }
    store(group.tx, &group.keys.volume(volume.id), &volume)?;
    Ok(Answer::Volume(volume))
}

/// Its name is free at once; its inodes go piece by piece.
pub(in crate::state) fn delete(group: &mut Group<'_, '_>, delete: &DeleteVolume) -> Result<Answer> {
    let mut volume = named(group, &delete.name)?;
    let rows = Rows { read: &*group.tx, keys: Keys::of_volume(group.id, volume.id) };
    if !delete.force && !rows.is_empty_directory(Ino::ROOT)? {
        return Err(Error::NotEmpty);
    }
    volume.purged = Some(Ino(0));
    group.tx.delete(&group.keys.volume_name(&volume.name));
    store(group.tx, &group.keys.volume(volume.id), &volume)?;
    Ok(Answer::Volume(volume))
}

fn named(group: &Group<'_, '_>, name: &str) -> Result<Volume> {
    let id: VolumeId = load(group.tx, &group.keys.volume_name(name))?.ok_or(Error::NotFound)?;
    load(group.tx, &group.keys.volume(id))?
        .ok_or_else(|| Error::Corrupt(format!("volume {name:?} has a name but no row")))
}
