//! Names, and what changing a directory's entries asks for.

use xtfs_core::access::{self, Wanted};
use xtfs_core::{Error, Ino, NAME_MAX, Result};

use crate::state::change::Change;
use crate::state::inode::{Dentry, Inode};

/// A name that an entry can have.
pub(in crate::state) fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() {
        return Err(Error::NotFound);
    }
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if name == b"." || name == b".." {
        return Err(Error::Invalid("\".\" and \"..\" are not made, moved or removed".into()));
    }
    if name.contains(&b'/') || name.contains(&0) {
        return Err(Error::Invalid("a name has a '/' or a NUL in it".into()));
    }
    Ok(())
}

impl Change<'_, '_> {
    /// A directory in which the caller may look `name` up, and what it finds.
    pub(super) fn find(&self, parent: Ino, name: &[u8]) -> Result<(Inode, Option<Dentry>)> {
        let directory = self.rows().directory(parent)?;
        access::check(&self.caller, directory.guarded(), Wanted::EXECUTE)?;
        check_name(name)?;
        let entry = self.rows().dentry(parent, name)?;
        Ok((directory, entry))
    }

    pub(super) fn check_may_add(&self, directory: &Inode) -> Result<()> {
        access::check(&self.caller, directory.guarded(), Wanted::WRITE_EXECUTE)
    }

    /// Whether the caller may take the entry of `inode` out of `directory`.
    pub(super) fn check_may_remove(&self, directory: &Inode, inode: &Inode) -> Result<()> {
        self.check_may_add(directory)?;
        access::check_sticky(&self.caller, directory.guarded(), inode.guarded())
    }

    /// A directory that the caller may put the new name `name` into.
    pub(super) fn find_free(&self, parent: Ino, name: &[u8]) -> Result<Inode> {
        let (directory, entry) = self.find(parent, name)?;
        if entry.is_some() {
            return Err(Error::Exists);
        }
        self.check_may_add(&directory)?;
        Ok(directory)
    }

    /// The numbers come from a counter and are never used again, so this only fails if it is broken.
    pub(super) fn check_unused(&self, ino: Ino) -> Result<()> {
        let taken = xtfs_kv::Read::get(&*self.tx, &self.keys.inode(ino))?.is_some();
        if taken || ino.0 <= Ino::ROOT.0 {
            return Err(Error::Internal(format!("inode number {ino} was handed out twice")));
        }
        Ok(())
    }
}
