//! The inodes of a deleted volume go, a bounded piece with each command.

use xtfs_core::{Error, Result};
use xtfs_kv::{KeyRange, Read};

use crate::state::change::Change;
use crate::state::command::Answer;
use crate::state::inode::{Inode, Orphan};
use crate::state::keys::{INODE, ORPHAN, store};
use crate::state::rows::numbered_after;

/// Rows that one command removes.
const PURGE_ROWS: usize = 1000;

pub(super) fn purge(change: &mut Change<'_, '_>) -> Result<Answer> {
    let Some(after) = change.volume.purged else {
        return Err(Error::Invalid(format!("volume {:?} is not deleted", change.volume.name)));
    };
    let table = change.keys.table(INODE);
    let inodes: Vec<(u64, Inode)> = numbered_after(&*change.tx, &table, after.0, PURGE_ROWS)?;
    if let Some((_, last)) = inodes.last() {
        change.volume.purged = Some(last.ino);
        store(change.tx, &change.group.volume(change.volume.id), &change.volume)?;
        for (_, inode) in inodes {
            // OSDs are asked to delete what they have before the row goes; the rest needs no care.
            match inode.layout {
                Some(_) => change.put_orphan(inode.ino, Orphan::Deleting)?,
                None => change.remove_inode(inode.ino)?,
            }
        }
        return Ok(Answer::Purged { gone: false });
    }
    let orphans = KeyRange::prefix(&change.keys.table(ORPHAN));
    if !change.tx.scan(&orphans, 1)?.is_empty() {
        return Ok(Answer::Purged { gone: false });
    }
    let rest = change.tx.scan(&KeyRange::prefix(&change.keys.all()), PURGE_ROWS)?;
    let gone = rest.len() < PURGE_ROWS;
    for (key, _) in rest {
        change.tx.delete(&key);
    }
    if gone {
        change.tx.delete(&change.group.volume(change.volume.id));
    }
    Ok(Answer::Purged { gone })
}
