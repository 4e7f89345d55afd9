//! One session at a time appends to an inode, so that no two find the same end.

use xtfs_core::{Error, Result};

use super::close::believe;
use super::session::fence;
use crate::state::change::Change;
use crate::state::command::{Answer, Append, EndAppend};
use crate::state::session::AppendTurn;

/// Undecided while another session has the turn, or what a dead writer wrote is not known: such an answer is not
/// remembered, so the request is made again.
pub(super) fn begin(change: &mut Change<'_, '_>, append: Append) -> Result<Answer> {
    let Append { ino, turn } = append;
    let session = change.own_session()?;
    if change.rows().opens(ino, session)?.write == 0 {
        return Err(Error::StaleHandle);
    }
    let holder = change.rows().append_turn(ino)?;
    if holder.is_some_and(|holder| holder.session != session) {
        return Err(Error::Overloaded("another client appends to the file".into()));
    }
    if change.rows().pending(ino)?.dead_writer {
        return Err(Error::Unavailable("a writer died, and its file is being settled".into()));
    }
    change.put_append_turn(ino, Some(AppendTurn { session, turn }))?;
    Ok(Answer::Done)
}

/// One that has ended already, with the last close or for a newer one, is ended.
pub(super) fn end(change: &mut Change<'_, '_>, end: &EndAppend) -> Result<Answer> {
    let session = change.own_session()?;
    let Append { ino, turn } = end.append;
    if change.rows().append_turn(ino)? != Some(AppendTurn { session, turn }) {
        return Ok(Answer::Done);
    }
    change.put_append_turn(ino, None)?;
    let mut inode = change.rows().inode(ino)?;
    if let Some(report) = &end.report {
        believe(&mut inode, report);
        change.put_inode(&inode)?;
    }
    if let Some(epoch) = end.epoch {
        fence(change, &mut inode, epoch)?;
    }
    Ok(Answer::Done)
}
