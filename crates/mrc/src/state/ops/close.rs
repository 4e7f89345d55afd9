//! Closing, and what a writer reports. R3: one writer is believed; after several the columns are asked.

use xtfs_core::{Error, Result};

use crate::state::change::Change;
use crate::state::command::{Answer, Close, Report, WriteReport};
use crate::state::inode::{Inode, Pending};

/// One that is not open takes nothing from the others.
pub(super) fn close(change: &mut Change<'_, '_>, closed: &[Close]) -> Result<Answer> {
    let mut refused = None;
    for close in closed {
        match close_one(change, close) {
            Err(err) if err.is_decided() => refused = Some(err),
            done => done?,
        }
    }
    match refused.filter(|_| closed.len() == 1) {
        Some(err) => Err(err),
        None => Ok(Answer::Done),
    }
}

fn close_one(change: &mut Change<'_, '_>, close: &Close) -> Result<()> {
    let session = change.own_session()?;
    let mut opens = change.rows().opens(close.ino, session)?;
    let count = if close.write { &mut opens.write } else { &mut opens.read };
    *count = count
        .checked_sub(1)
        .ok_or_else(|| Error::Invalid(format!("inode {} is not open", close.ino)))?;
    let mut inode = change.rows().inode(close.ino)?;
    change.put_opens(close.ino, session, opens)?;
    if close.write {
        if let Some(report) = &close.report {
            believe(&mut inode, report);
        }
        if !change.rows().is_written(close.ino)? {
            last_writer_closed(change, &mut inode)?;
        }
        change.put_inode(&inode)?;
    }
    change.reap(&inode)?;
    Ok(())
}

pub(super) fn report(change: &mut Change<'_, '_>, report: &Report) -> Result<Answer> {
    let session = change.own_session()?;
    if change.rows().opens(report.ino, session)?.write == 0 {
        return Err(Error::Invalid(format!("inode {} is not open for writing", report.ino)));
    }
    let mut inode = change.rows().inode(report.ino)?;
    believe(&mut inode, &report.report);
    change.put_inode(&inode)?;
    Ok(Answer::Inode(Box::new(inode)))
}

/// Takes over what was written under the current epoch. What was written under an older one may have
/// been cut since: only the columns know.
pub(super) fn believe(inode: &mut Inode, report: &WriteReport) {
    if report.file_epoch == inode.file_epoch {
        *inode = inode.with_report(report);
        inode.change += 1;
    } else {
        inode.dirty = true;
    }
}

fn last_writer_closed(change: &mut Change<'_, '_>, inode: &mut Inode) -> Result<()> {
    let pending = change.rows().pending(inode.ino)?;
    // A file without a name has nobody to tell its size to, but those who hold it open.
    let asked_for = inode.nlink > 0 || change.rows().is_held(inode.ino)?;
    if asked_for && (inode.dirty || pending.settle) {
        return change.put_pending(inode.ino, Pending { settle: true, ..pending });
    }
    inode.settled();
    Ok(())
}

impl Inode {
    /// Size and times are as stored from now on.
    pub(super) fn settled(&mut self) {
        self.writing = false;
        self.writer = None;
        self.dirty = false;
    }
}
