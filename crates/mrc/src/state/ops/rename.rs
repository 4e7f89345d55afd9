//! Names move: within a directory, between two, over another, or two change places.

use xtfs_core::access::{self, Wanted};
use xtfs_core::{Error, Ino, Result};

use super::LINKS_MAX;
use crate::state::change::Change;
use crate::state::command::{Answer, Rename, RenameMode};
use crate::state::inode::{Dentry, Inode};

/// One of the two names.
struct Side {
    directory: Inode,
    entry: Dentry,
    inode: Inode,
}

pub(super) fn rename(change: &mut Change<'_, '_>, rename: &Rename) -> Result<Answer> {
    let (from, entry) = change.find(rename.parent, &rename.name)?;
    let (to, replaced) = change.find(rename.new_parent, &rename.new_name)?;
    let entry = entry.ok_or(Error::NotFound)?;
    let old = Side { directory: from, entry, inode: change.rows().inode(entry.ino)? };
    match (rename.mode, replaced) {
        (RenameMode::NoReplace, Some(_)) => return Err(Error::Exists),
        (RenameMode::Exchange, None) => return Err(Error::NotFound),
        // Two names of one inode: POSIX says that nothing happens.
        (_, Some(same)) if same.ino == entry.ino => return Ok(Answer::Done),
        _ => {}
    }
    check_moves(change, &old, &to)?;
    match replaced {
        None => {
            change.check_may_add(&to)?;
            check_links(&old, None, &to)?;
            place(change, rename, &old, None)
        }
        Some(entry) => {
            let new = Side { directory: to, entry, inode: change.rows().inode(entry.ino)? };
            change.check_may_remove(&new.directory, &new.inode)?;
            if rename.mode == RenameMode::Exchange {
                check_moves(change, &new, &old.directory)?;
                check_links(&old, Some(&new), &new.directory)?;
                check_links(&new, Some(&old), &old.directory)?;
                return exchange(change, rename, &old, &new);
            }
            check_replaces(change, &old, &new)?;
            check_links(&old, Some(&new), &new.directory)?;
            place(change, rename, &old, Some(&new))
        }
    }
}

/// Whether `side` may leave its directory for `to`.
fn check_moves(change: &Change<'_, '_>, side: &Side, to: &Inode) -> Result<()> {
    change.check_may_remove(&side.directory, &side.inode)?;
    if !side.inode.is_directory() || side.directory.ino == to.ino {
        return Ok(());
    }
    // Its ".." changes.
    access::check(&change.caller, side.inode.guarded(), Wanted::WRITE)?;
    check_not_below(change, to, side.entry.ino)
}

/// Walks up from `directory`: no cycles, however clients race.
fn check_not_below(change: &Change<'_, '_>, directory: &Inode, moved: Ino) -> Result<()> {
    let mut at = directory.clone();
    loop {
        if at.ino == moved {
            return Err(Error::Invalid("a directory cannot move into itself".into()));
        }
        if at.ino == Ino::ROOT {
            return Ok(());
        }
        at = change.rows().inode(at.parent)?;
    }
}

fn check_replaces(change: &Change<'_, '_>, old: &Side, new: &Side) -> Result<()> {
    match (old.inode.is_directory(), new.inode.is_directory()) {
        (true, false) => Err(Error::NotADirectory),
        (false, true) => Err(Error::IsADirectory),
        (true, true) if !change.rows().is_empty_directory(new.entry.ino)? => Err(Error::NotEmpty),
        _ => Ok(()),
    }
}

/// Whether `to` can hold one more directory, if it is to.
fn check_links(moved: &Side, leaves: Option<&Side>, to: &Inode) -> Result<()> {
    let gains = moved.inode.is_directory()
        && moved.directory.ino != to.ino
        && !leaves.is_some_and(|side| side.inode.is_directory());
    if gains && to.nlink >= LINKS_MAX { Err(Error::TooManyLinks) } else { Ok(()) }
}

fn place(
    change: &mut Change<'_, '_>,
    rename: &Rename,
    old: &Side,
    new: Option<&Side>,
) -> Result<Answer> {
    let (ino, kind) = (old.entry.ino, old.entry.kind);
    change.remove_entry(rename.parent, &rename.name, old.entry)?;
    change.put_entry(rename.new_parent, &rename.new_name, ino, kind)?;
    if let Some(new) = new {
        if new.inode.is_directory() {
            change.change_inode(rename.new_parent, |directory| directory.nlink -= 1)?;
        }
        change.drop_link(new.entry.ino)?;
    }
    arrive(change, old, rename.new_parent)?;
    Ok(Answer::Done)
}

fn exchange(
    change: &mut Change<'_, '_>,
    rename: &Rename,
    old: &Side,
    new: &Side,
) -> Result<Answer> {
    let (there, here) = (old.entry, new.entry);
    change.put_entry(rename.new_parent, &rename.new_name, there.ino, there.kind)?;
    change.put_entry(rename.parent, &rename.name, here.ino, here.kind)?;
    arrive(change, old, rename.new_parent)?;
    arrive(change, new, rename.parent)?;
    Ok(Answer::Done)
}

/// What a move changes of the inode, and of the directories' counts if it is one.
fn arrive(change: &mut Change<'_, '_>, side: &Side, to: Ino) -> Result<()> {
    let from = side.directory.ino;
    let is_directory = side.inode.is_directory();
    change.change_inode(side.entry.ino, |inode| {
        if is_directory {
            inode.parent = to;
        }
    })?;
    if is_directory && from != to {
        change.change_inode(from, |directory| directory.nlink -= 1)?;
        change.change_inode(to, |directory| directory.nlink += 1)?;
    }
    Ok(())
}
