//! One session at a time appends to an inode, so that no two find the same end.

use xtfs_core::{Error, Result};

use crate::state::change::Change;
use crate::state::command::{Answer, Append};
use crate::state::session::AppendTurn;

/// Undecided while another session has the turn: such an answer is not remembered, so the request is made again.
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
    change.put_append_turn(ino, Some(AppendTurn { session, turn }))?;
    Ok(Answer::Done)
}

/// One that has ended already, with the last close or for a newer one, is ended.
pub(super) fn end(change: &mut Change<'_, '_>, append: Append) -> Result<Answer> {
    let session = change.own_session()?;
    let ended = AppendTurn { session, turn: append.turn };
    if change.rows().append_turn(append.ino)? == Some(ended) {
        change.put_append_turn(append.ino, None)?;
    }
    Ok(Answer::Done)
}
