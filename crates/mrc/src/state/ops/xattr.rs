//! Extended attributes: user., trusted. and security.

use xtfs_core::access::{self, Identity, STICKY, Wanted};
use xtfs_core::{Error, NAME_MAX, Result};
use xtfs_kv::Read;

use crate::state::change::Change;
use crate::state::command::{Answer, RemoveXattr, SetXattr, XattrMode};
use crate::state::inode::{FileKind, Inode};
use crate::state::keys::store;

/// Largest value, as on Linux.
const XATTR_VALUE_MAX: usize = 64 << 10;
/// Names of one inode with a NUL each: what listxattr(2) can answer.
const XATTR_NAMES_MAX: usize = 64 << 10;

enum Space {
    User,
    Trusted,
    Security,
}

pub(super) fn set(change: &mut Change<'_, '_>, set: &SetXattr) -> Result<Answer> {
    let inode = change.rows().inode(set.ino)?;
    check_write(&change.caller, &inode, &set.name)?;
    if set.value.len() > XATTR_VALUE_MAX {
        return Err(Error::Range);
    }
    let key = change.keys.xattr(set.ino, &set.name);
    let exists = change.tx.get(&key)?.is_some();
    match (set.mode, exists) {
        (XattrMode::Create, true) => return Err(Error::Exists),
        (XattrMode::Replace, false) => return Err(Error::NoAttribute),
        _ => {}
    }
    if !exists {
        let names = change.rows().xattr_names(set.ino)?;
        let taken: usize = names.iter().map(|name| name.len() + 1).sum();
        if taken + set.name.len() + 1 > XATTR_NAMES_MAX {
            return Err(Error::NoSpace("the inode has too many extended attributes".into()));
        }
    }
    store(change.tx, &key, &set.value)?;
    change.change_inode(set.ino, |_| {})?;
    Ok(Answer::Done)
}

pub(super) fn remove(change: &mut Change<'_, '_>, remove: &RemoveXattr) -> Result<Answer> {
    let inode = change.rows().inode(remove.ino)?;
    check_write(&change.caller, &inode, &remove.name)?;
    let key = change.keys.xattr(remove.ino, &remove.name);
    if change.tx.get(&key)?.is_none() {
        return Err(Error::NoAttribute);
    }
    change.tx.delete(&key);
    change.change_inode(remove.ino, |_| {})?;
    Ok(Answer::Done)
}

fn space(name: &[u8]) -> Result<Space> {
    if name.len() > NAME_MAX {
        return Err(Error::Range);
    }
    let spaces: [(&[u8], Space); 3] =
        [(b"user.", Space::User), (b"trusted.", Space::Trusted), (b"security.", Space::Security)];
    for (prefix, space) in spaces {
        match name.strip_prefix(prefix) {
            Some(b"") => return Err(Error::Invalid("an extended attribute without a name".into())),
            Some(rest) if rest.contains(&0) => {
                return Err(Error::Invalid("the name of an attribute has a NUL in it".into()));
            }
            Some(_) => return Ok(space),
            None => {}
        }
    }
    Err(Error::NotSupported("extended attributes but user., trusted. and security.".into()))
}

fn check_write(caller: &Identity, inode: &Inode, name: &[u8]) -> Result<()> {
    match space(name)? {
        Space::Trusted | Space::Security if !caller.is_root() => Err(Error::NotPermitted),
        Space::Trusted | Space::Security => Ok(()),
        Space::User => {
            if !has_user_space(inode) {
                return Err(Error::NotPermitted);
            }
            if inode.is_directory() && inode.mode & STICKY != 0 {
                access::check_owner(caller, inode.guarded())?;
            }
            access::check(caller, inode.guarded(), Wanted::WRITE)
        }
    }
}

/// Whether the caller may read the attribute `name`, if it is there.
pub(in crate::state) fn check_read(caller: &Identity, inode: &Inode, name: &[u8]) -> Result<()> {
    match space(name)? {
        Space::Trusted if !caller.is_root() => Err(Error::NoAttribute),
        Space::Trusted | Space::Security => Ok(()),
        Space::User if !has_user_space(inode) => Err(Error::NoAttribute),
        Space::User => access::check(caller, inode.guarded(), Wanted::READ),
    }
}

/// Whether the caller sees the attribute in a listing.
pub(in crate::state) fn is_visible(caller: &Identity, name: &[u8]) -> bool {
    caller.is_root() || !name.starts_with(b"trusted.")
}

/// The mode of links and devices says nothing about who may keep data there.
fn has_user_space(inode: &Inode) -> bool {
    matches!(inode.kind, FileKind::File | FileKind::Directory)
}
