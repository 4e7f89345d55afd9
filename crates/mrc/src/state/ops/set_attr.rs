//! chmod, chown, utimes, truncate.

use xtfs_core::access::{self, Identity, MODE_MASK, SGID, Wanted};
use xtfs_core::{Error, FILE_SIZE_MAX, FileEpoch, Floor, Result};

use crate::state::change::Change;
use crate::state::command::{Answer, Resize, SetAttr, SetTime};
use crate::state::inode::{FileKind, Inode, Pending};

/// `epoch`: with which writers are told of set-ids (R12).
pub(super) fn set_attr(
    change: &mut Change<'_, '_>,
    set: &SetAttr,
    epoch: Option<FileEpoch>,
) -> Result<Answer> {
    let mut inode = change.rows().inode(set.ino)?;
    let mut pending = change.rows().pending(set.ino)?;
    check_purpose(set)?;
    check_mode_and_owner(change, set, &inode)?;
    check_times(change, set, &inode)?;
    if set.kill_set_ids {
        check_kill(change, set, &inode)?;
    }
    if let Some(resize) = set.size {
        check_resize(change, set, resize, &inode, pending)?;
    }
    let told = check_tell(change, set, epoch, &inode)?;
    set_mode_and_owner(change, set, &mut inode);
    if let Some(resize) = set.size {
        pending = resized(change, resize, &mut inode, pending);
    }
    if let Some(epoch) = told {
        inode.file_epoch = raised(inode.file_epoch, epoch);
        // Reports under the new epoch do not say what was written under the old one.
        inode.dirty = true;
        pending.seal = true;
    }
    if set.size.is_some() || told.is_some() {
        change.put_pending(set.ino, pending)?;
    }
    set_times(change, set, &mut inode);
    change.touch(&mut inode);
    change.put_inode(&inode)?;
    Ok(Answer::Inode(Box::new(inode)))
}

fn check_purpose(set: &SetAttr) -> Result<()> {
    let SetAttr { mode, uid, gid, size, atime, mtime, kill_set_ids, .. } = set;
    let owner = uid.is_some() || gid.is_some();
    let times = atime.is_some() || mtime.is_some();
    if mode.is_some() || owner || size.is_some() || times || *kill_set_ids {
        return Ok(());
    }
    Err(Error::Invalid("a change of attributes that changes none".into()))
}

/// For whoever writes the file.
fn check_kill(change: &Change<'_, '_>, set: &SetAttr, inode: &Inode) -> Result<()> {
    if inode.kind != FileKind::File {
        return Err(Error::Invalid("only a file is written".into()));
    }
    if holds_for_writing(change, set)? {
        return Ok(());
    }
    access::check_owner(&change.caller, inode.guarded())
        .or_else(|_| access::check(&change.caller, inode.guarded(), Wanted::WRITE))
}

fn holds_for_writing(change: &Change<'_, '_>, set: &SetAttr) -> Result<bool> {
    match change.session {
        Some(session) if set.by_handle => Ok(change.rows().opens(set.ino, session)?.write > 0),
        _ => Ok(false),
    }
}

/// R12: the epoch to take, if somebody who holds the file open for writing has to learn of set-ids.
fn check_tell(
    change: &Change<'_, '_>,
    set: &SetAttr,
    epoch: Option<FileEpoch>,
    inode: &Inode,
) -> Result<Option<FileEpoch>> {
    if !inode.gains_set_ids(set.mode) || !change.rows().is_written(inode.ino)? {
        return Ok(None);
    }
    if epoch.is_none() {
        return Err(Error::Unavailable("the file is being written, its writers must know".into()));
    }
    // With a higher epoch, columns that have met the cut would be cut again.
    if inode.floor != Floor::NONE {
        return Err(Error::Unavailable("a cut has not reached all columns".into()));
    }
    Ok(epoch)
}

fn check_mode_and_owner(change: &Change<'_, '_>, set: &SetAttr, inode: &Inode) -> Result<()> {
    let guarded = inode.guarded();
    if set.mode.is_some() {
        if inode.kind == FileKind::Symlink {
            return Err(Error::NotSupported("the mode of a symbolic link".into()));
        }
        access::check_owner(&change.caller, guarded)?;
    }
    if set.uid.is_some() || set.gid.is_some() {
        let chown_non_root = change.volume.policy.chown_non_root;
        access::check_chown(&change.caller, guarded, set.uid, set.gid, chown_non_root)?;
    }
    Ok(())
}

/// "Now" for both is for whoever may write; all else for the owner.
fn check_times(change: &Change<'_, '_>, set: &SetAttr, inode: &Inode) -> Result<()> {
    let guarded = inode.guarded();
    match (set.atime, set.mtime) {
        (None, None) => Ok(()),
        (Some(SetTime::Now), Some(SetTime::Now)) => access::check_owner(&change.caller, guarded)
            .or_else(|_| access::check(&change.caller, guarded, Wanted::WRITE)),
        _ => access::check_owner(&change.caller, guarded),
    }?;
    // R5: without the columns' word an older write would show again.
    if set.mtime.is_some() && inode.writing && set.columns_mtime.is_none() {
        return Err(Error::Unavailable("the file is being written, ask its columns first".into()));
    }
    Ok(())
}

fn check_resize(
    change: &Change<'_, '_>,
    set: &SetAttr,
    resize: Resize,
    inode: &Inode,
    pending: Pending,
) -> Result<()> {
    match inode.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(Error::IsADirectory),
        _ => return Err(Error::Invalid("only a file has a size that can be set".into())),
    }
    if resize.size > FILE_SIZE_MAX {
        return Err(Error::FileTooLarge);
    }
    if !holds_for_writing(change, set)? {
        access::check(&change.caller, inode.guarded(), Wanted::WRITE)?;
    }
    check_resizable(resize, inode, pending)
}

/// What keeps the size from being set just now.
pub(super) fn check_resizable(resize: Resize, inode: &Inode, pending: Pending) -> Result<()> {
    if pending.dead_writer {
        return Err(Error::Unavailable("a writer died, its columns are being sealed".into()));
    }
    if resize.epoch.is_none() && inode.resize_needs_epoch(resize.size) {
        return Err(Error::Unavailable("the file has data by now, its columns must be cut".into()));
    }
    // A cut carries one floor: with the old one, what was written since would be cut as well.
    if resize.size > inode.floor.0 && inode.resize_needs_epoch(resize.size) {
        return Err(Error::Unavailable("an earlier cut has not reached all columns".into()));
    }
    Ok(())
}

fn set_mode_and_owner(change: &Change<'_, '_>, set: &SetAttr, inode: &mut Inode) {
    let chowned = set.uid.is_some() || set.gid.is_some();
    let is_root = change.caller.is_root();
    let gid_before = inode.gid;
    inode.uid = set.uid.unwrap_or(inode.uid);
    inode.gid = set.gid.unwrap_or(inode.gid);
    if let Some(mode) = set.mode {
        inode.mode = chmod(&change.caller, inode.gid, mode);
    }
    // Also if the mode came along: nobody gives a set-id program away.
    let given = chowned && !inode.is_directory() && (set.mode.is_none() || !is_root);
    let cut = set.size.is_some() && !is_root;
    if given || cut || set.kill_set_ids {
        inode.mode = access::without_set_ids(&change.caller, gid_before, inode.mode);
    }
}

/// Nobody makes a program that runs as a group that they are not in. With an ACL the group bits are its mask.
pub(super) fn chmod(caller: &Identity, gid: u32, mode: u32) -> u32 {
    let is_member = caller.is_root() || caller.in_group(gid);
    mode & MODE_MASK & if is_member { !0 } else { !SGID }
}

/// R6: with data there, all columns must learn of it. A column that is silent learns of it later.
pub(super) fn resized(
    change: &Change<'_, '_>,
    resize: Resize,
    inode: &mut Inode,
    pending: Pending,
) -> Pending {
    let needs_epoch = inode.resize_needs_epoch(resize.size);
    inode.size = resize.size;
    inode.changed_now(change.now);
    match resize.epoch {
        Some(epoch) if needs_epoch => {
            inode.file_epoch = raised(inode.file_epoch, epoch);
            inode.floor = Floor(resize.size);
            Pending { seal: true, ..pending }
        }
        _ => pending,
    }
}

/// Epochs of a file only grow, whatever the order in which numbers arrive.
pub(super) fn raised(current: FileEpoch, proposed: FileEpoch) -> FileEpoch {
    FileEpoch(proposed.0.max(current.0 + 1))
}

fn set_times(change: &Change<'_, '_>, set: &SetAttr, inode: &mut Inode) {
    match set.atime {
        Some(SetTime::To(time)) => inode.atime = time,
        Some(SetTime::Now) => inode.atime = change.now,
        None => {}
    }
    match set.mtime {
        Some(SetTime::To(time)) => inode.set_mtime(time, set.columns_mtime),
        Some(SetTime::Now) => inode.set_mtime(change.now, set.columns_mtime.max(Some(change.now))),
        None => {}
    }
}
