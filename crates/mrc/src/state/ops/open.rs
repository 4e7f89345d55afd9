//! Opening, and making a file in the same call. R1: who writes is counted before they can.

use xtfs_core::access::{self, Wanted};
use xtfs_core::{Error, FileEpoch, Result};

use super::mknod::{file_mode, inherit};
use super::set_attr::{check_resizable, resized};
use crate::state::change::Change;
use crate::state::command::{Answer, Create, Open, OpenMode, Opened, Resize};
use crate::state::inode::{FileKind, Inode, Layout, Orphan, Pending};

pub(super) fn create(change: &mut Change<'_, '_>, create: Create) -> Result<Answer> {
    let (directory, entry) = change.find(create.parent, &create.name)?;
    if let Some(entry) = entry {
        if create.exclusive || entry.kind == FileKind::Symlink {
            return Err(Error::Exists);
        }
        if entry.kind == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        let Create { open, layout, epoch, .. } = create;
        return self::open(change, Open { ino: entry.ino, open, layout, epoch });
    }
    check_purpose(create.open)?;
    change.check_may_add(&directory)?;
    change.check_unused(create.ino)?;
    let mut inode = change.new_inode(create.ino, FileKind::File, &directory);
    let mode = file_mode(change, &inode, create.mode);
    inherit(&directory, &mut inode, mode, create.umask);
    // Whoever makes a file may do with this handle what they asked for, whatever its mode says.
    admit(change, &inode, create.open, create.layout.as_ref())?;
    change.add(&directory, &create.name, inode.clone())?;
    hold(change, inode, create.open, create.layout, true)
}

pub(super) fn open(change: &mut Change<'_, '_>, open: Open) -> Result<Answer> {
    let Open { ino, open, layout, epoch } = open;
    check_purpose(open)?;
    let mut inode = change.rows().inode(ino)?;
    match inode.kind {
        FileKind::Directory if open.write || open.truncate => return Err(Error::IsADirectory),
        FileKind::Symlink => return Err(Error::Invalid("a symbolic link is not opened".into())),
        _ => {}
    }
    // As Linux does: a program that is executed need not be readable.
    let wanted = Wanted {
        read: open.read && !open.execute,
        write: open.write || open.truncate,
        execute: open.execute,
    };
    access::check(&change.caller, inode.guarded(), wanted)?;
    admit(change, &inode, open, layout.as_ref())?;
    if open.truncate && inode.kind == FileKind::File {
        empty(change, &mut inode, epoch)?;
    }
    hold(change, inode, open, layout, false)
}

/// Any capability lets its holder read, so one must have been asked for.
fn check_purpose(open: OpenMode) -> Result<()> {
    if open.read || open.write || open.execute {
        return Ok(());
    }
    Err(Error::Invalid("an open neither to read nor to write nor to execute".into()))
}

/// R6, for O_TRUNC.
fn empty(change: &mut Change<'_, '_>, inode: &mut Inode, epoch: Option<FileEpoch>) -> Result<()> {
    let resize = Resize { size: 0, epoch };
    let pending = change.rows().pending(inode.ino)?;
    check_resizable(resize, inode, pending)?;
    let pending = resized(change, resize, inode, pending);
    change.put_pending(inode.ino, pending)?;
    if !change.caller.is_root() {
        inode.mode = access::without_set_ids(&change.caller, inode.gid, inode.mode);
    }
    change.touch(inode);
    change.put_inode(inode)
}

/// Refusals that the inode's mode has nothing to do with.
fn admit(
    change: &Change<'_, '_>,
    inode: &Inode,
    open: OpenMode,
    layout: Option<&Layout>,
) -> Result<()> {
    change.own_session()?;
    // Only who has it open, or has just found it, opens it again: it went with its last close, though its data may take
    // a while.
    if let Some(orphan) = change.rows().orphan(inode.ino)? {
        let reached = inode.may_still_be_reached(change.now) || change.rows().is_held(inode.ino)?;
        if orphan == Orphan::Deleting || !reached {
            return Err(Error::StaleHandle);
        }
    }
    if !open.write || inode.kind != FileKind::File {
        return Ok(());
    }
    if change.rows().pending(inode.ino)?.dead_writer {
        return Err(Error::Unavailable("a writer died, its columns are being sealed".into()));
    }
    match (&inode.layout, layout) {
        (None, None) => {
            Err(Error::Unavailable("the file has no layout and none was offered".into()))
        }
        (None, Some(offered))
            if offered.sets.len() != usize::from(offered.striping.stripe_width()) =>
        {
            Err(Error::Invalid("a layout needs a set for each column".into()))
        }
        _ => Ok(()),
    }
}

fn hold(
    change: &mut Change<'_, '_>,
    mut inode: Inode,
    open: OpenMode,
    layout: Option<Layout>,
    created: bool,
) -> Result<Answer> {
    let session = change.own_session()?;
    let write = open.write && inode.kind == FileKind::File;
    let mut opens = change.rows().opens(inode.ino, session)?;
    if write {
        opens.write += 1;
        if inode.layout.is_none() {
            inode.allocated =
                layout.as_ref().map_or(Vec::new(), |layout| vec![0; layout.sets.len()]);
            inode.layout = layout;
        }
        inode.writing = true;
        inode.round += 1;
        inode.dirty |= inode.writer.is_some_and(|writer| writer != session);
        inode.writer.get_or_insert(session);
        change.put_inode(&inode)?;
        // A settlement that waits is for the last close of this round now.
        let pending = change.rows().pending(inode.ino)?;
        if pending.settle {
            change.put_pending(inode.ino, Pending { settle: false, ..pending })?;
        }
    } else {
        opens.read += 1;
    }
    change.put_opens(inode.ino, session, opens)?;
    Ok(Answer::Opened(Box::new(Opened { inode, created, write })))
}
