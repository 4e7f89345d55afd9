//! What new files in a directory get.

use xtfs_core::{Error, Result, access};

use crate::state::change::Change;
use crate::state::command::{Answer, SetDefaultLayout};

pub(super) fn set(change: &mut Change<'_, '_>, set: SetDefaultLayout) -> Result<Answer> {
    let inode = change.rows().inode(set.ino)?;
    if !inode.is_directory() {
        return Err(Error::NotADirectory);
    }
    access::check_owner(&change.caller, inode.guarded())?;
    let inode = change.change_inode(set.ino, |inode| inode.default_layout = set.layout)?;
    Ok(Answer::Inode(Box::new(inode)))
}
