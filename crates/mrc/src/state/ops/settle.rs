//! The end of a truncation (R6), of a settlement (R3), of a dead writer (R4).

use xtfs_core::{Floor, Result};

use super::set_attr::raised;
use crate::state::change::Change;
use crate::state::command::{Answer, Settle};
use crate::state::inode::Pending;

pub(super) fn settle(change: &mut Change<'_, '_>, settle: &Settle) -> Result<Answer> {
    let mut inode = change.rows().inode(settle.ino)?;
    let mut pending = change.rows().pending(settle.ino)?;
    if pending.is_empty() {
        return Ok(Answer::Settled(true));
    }
    // Somebody cut the file, or wrote, since the columns were asked: their answers are old.
    if settle.file_epoch != inode.file_epoch {
        return Ok(Answer::Settled(false));
    }
    if settle.sealed && pending.seal {
        inode.floor = Floor::NONE;
        pending.seal = pending.fence;
        if let Some(columns) = &settle.columns {
            inode.allocated.clone_from(&columns.allocated);
        }
    }
    if let Some(epoch) = settle.fence.filter(|_| settle.sealed && pending.fence) {
        inode.file_epoch = raised(inode.file_epoch, epoch);
        pending.fence = false;
    }
    let trusted = settle.round == inode.round && !(pending.dead_writer && pending.seal);
    if let Some(columns) = settle.columns.as_ref().filter(|_| trusted && pending.settle) {
        inode = inode.with_columns(columns);
        pending = Pending { settle: false, dead_writer: false, ..pending };
        if !change.rows().is_written(settle.ino)? {
            inode.settled();
        }
    }
    inode.change += 1;
    change.put_inode(&inode)?;
    change.put_pending(settle.ino, pending)?;
    Ok(Answer::Settled(pending.is_empty()))
}
