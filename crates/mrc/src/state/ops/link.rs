//! One more name for an inode.

use xtfs_core::{Error, Result};

use super::LINKS_MAX;
use crate::state::change::Change;
use crate::state::command::{Answer, Link};

pub(super) fn link(change: &mut Change<'_, '_>, link: &Link) -> Result<Answer> {
    let inode = change.rows().inode(link.ino)?;
    if inode.nlink == 0 {
        return Err(Error::NotFound);
    }
    change.find_free(link.parent, &link.name)?;
    if inode.is_directory() {
        return Err(Error::NotPermitted);
    }
    if inode.nlink >= LINKS_MAX {
        return Err(Error::TooManyLinks);
    }
    change.put_entry(link.parent, &link.name, inode.ino, inode.kind)?;
    let inode = change.change_inode(link.ino, |inode| inode.nlink += 1)?;
    Ok(Answer::Inode(Box::new(inode)))
}
