//! Names go; the last one takes the inode with it, once nobody holds it open (R8).

use xtfs_core::{Error, Result};

use crate::state::change::Change;
use crate::state::command::{Answer, Unlink};

pub(super) fn unlink(change: &mut Change<'_, '_>, unlink: &Unlink) -> Result<Answer> {
    let Unlink { parent, name } = unlink;
    let (directory, entry) = change.find(*parent, name)?;
    let entry = entry.ok_or(Error::NotFound)?;
    let inode = change.rows().inode(entry.ino)?;
    change.check_may_remove(&directory, &inode)?;
    if inode.is_directory() {
        return Err(Error::IsADirectory);
    }
    change.remove_entry(*parent, name, entry)?;
    change.drop_link(entry.ino)?;
    Ok(Answer::Done)
}

pub(super) fn rmdir(change: &mut Change<'_, '_>, unlink: &Unlink) -> Result<Answer> {
    let Unlink { parent, name } = unlink;
    let (directory, entry) = change.find(*parent, name)?;
    let entry = entry.ok_or(Error::NotFound)?;
    let inode = change.rows().inode(entry.ino)?;
    change.check_may_remove(&directory, &inode)?;
    if !inode.is_directory() {
        return Err(Error::NotADirectory);
    }
    if !change.rows().is_empty_directory(entry.ino)? {
        return Err(Error::NotEmpty);
    }
    change.remove_entry(*parent, name, entry)?;
    change.change_inode(*parent, |directory| directory.nlink -= 1)?;
    change.drop_link(entry.ino)?;
    Ok(Answer::Done)
}
