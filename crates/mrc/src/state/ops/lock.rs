//! A range of an open file is locked, converted or given back. It never waits.

use xtfs_core::{Error, Result};

use crate::state::change::Change;
use crate::state::command::{Answer, Lock};
use crate::state::lock::{HeldLock, LockOwner};
use crate::state::session::Opens;

pub(super) fn lock(change: &mut Change<'_, '_>, lock: Lock) -> Result<Answer> {
    let Lock { ino, owner, kind, range, pid, process, lost } = lock;
    let session = change.own_session()?;
    let owner = LockOwner { session, owner };
    let mut table = change.rows().locks(ino)?;
    match kind {
        None => table.unlock(owner, range)?,
        Some(kind) => {
            // Its end would not be noticed.
            if change.rows().opens(ino, session)? == Opens::default() {
                return Err(Error::StaleHandle);
            }
            // Whoever died may have held it, and goes on writing until all columns are sealed (R4). A lock that was lost
            // was granted before that.
            if !lost && change.rows().pending(ino)?.dead_writer {
                return Err(Error::Locked);
            }
            table.lock(HeldLock { owner, kind, range, pid, process })?;
        }
    }
    change.put_locks(ino, owner, &table)?;
    Ok(Answer::Done)
}
