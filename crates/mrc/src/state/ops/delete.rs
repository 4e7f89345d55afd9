//! What the deletion worker tells (R8): first that it will ask OSDs, then that all have confirmed.

use xtfs_core::{Ino, Result};

use crate::state::change::Change;
use crate::state::command::Answer;
use crate::state::inode::Orphan;

/// From here on the orphans cannot be opened any more. Leaves out those that somebody holds.
pub(super) fn begin(change: &mut Change<'_, '_>, inos: &[Ino]) -> Result<Answer> {
    let mut deleting = Vec::new();
    for &ino in inos {
        if change.rows().orphan(ino)?.is_some() && !change.rows().is_held(ino)? {
            change.put_orphan(ino, Orphan::Deleting)?;
            deleting.push(ino);
        }
    }
    Ok(Answer::Deleting(deleting))
}

pub(super) fn finish(change: &mut Change<'_, '_>, inos: &[Ino]) -> Result<Answer> {
    for &ino in inos {
        if change.rows().orphan(ino)? == Some(Orphan::Deleting) {
            change.remove_inode(ino)?;
        }
    }
    Ok(Answer::Done)
}
