//! Extended attributes: user., trusted. and security.; ACLs, which come as some.

use xtfs_core::access::{self, Identity, STICKY, Wanted};
use xtfs_core::acl::{self, Acl};
use xtfs_core::{Error, NAME_MAX, Result};
use xtfs_kv::Read;

use super::set_attr::chmod;
use crate::state::change::Change;
use crate::state::command::{Answer, RemoveXattr, SetXattr, XattrMode};
use crate::state::inode::{FileKind, Inode};
use crate::state::keys::{load, store};
use crate::state::rows::Rows;

/// Largest value, as on Linux.
const XATTR_VALUE_MAX: usize = 64 << 10;
/// Names of one inode with a NUL each: what listxattr(2) can answer, ACLs not counted.
const XATTR_NAMES_MAX: usize = (64 << 10) - acl::ACCESS.len() - acl::DEFAULT.len() - 2;

/// File capabilities.
const CAPABILITY: &[u8] = b"security.capability";

enum Space {
    User,
    Trusted,
    Security,
    AccessAcl,
    DefaultAcl,
}

pub(super) fn set(change: &mut Change<'_, '_>, set: &SetXattr) -> Result<Answer> {
    let inode = change.rows().inode(set.ino)?;
    let space = check_write(&change.caller, &inode, &set.name)?;
    if matches!(space, Space::DefaultAcl) && !inode.is_directory() {
        return Err(Error::AccessDenied);
    }
    if set.value.len() > XATTR_VALUE_MAX {
        return Err(Error::ValueTooLong);
    }
    if let Space::AccessAcl | Space::DefaultAcl = space {
        // Create and replace mean nothing here, as on Linux.
        return set_acl(change, &inode, &space, Acl::decode(&set.value)?);
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
    let space = check_remove(&change.caller, &inode, &remove.name)?;
    if let Space::AccessAcl | Space::DefaultAcl = space {
        // As on Linux: there is none afterwards, which is no mistake of whoever asked.
        return match acl_of(&inode, &space) {
            Some(_) => set_acl(change, &inode, &space, None),
            None => Ok(Answer::Done),
        };
    }
    let key = change.keys.xattr(remove.ino, &remove.name);
    if change.tx.get(&key)?.is_none() {
        return Err(Error::NoAttribute);
    }
    change.tx.delete(&key);
    change.change_inode(remove.ino, |_| {})?;
    Ok(Answer::Done)
}

/// An access list that says no more than a mode becomes one; without any, the mode stays.
fn set_acl(
    change: &mut Change<'_, '_>,
    inode: &Inode,
    space: &Space,
    acl: Option<Acl>,
) -> Result<Answer> {
    if let Space::DefaultAcl = space {
        change.change_inode(inode.ino, |inode| inode.change_acls(|acls| acls.default = acl))?;
        return Ok(Answer::Done);
    }
    let mode =
        acl.as_ref().map(|acl| chmod(&change.caller, inode.gid, inode.mode & !0o777 | acl.bits));
    change.change_inode(inode.ino, |inode| {
        inode.mode = mode.unwrap_or(inode.mode);
        inode.change_acls(|acls| acls.access = acl.and_then(|acl| acl.extended));
    })?;
    Ok(Answer::Done)
}

/// As an extended attribute has it.
fn acl_of(inode: &Inode, space: &Space) -> Option<Vec<u8>> {
    match space {
        Space::DefaultAcl => inode.default_acl().map(Acl::encode),
        _ => inode.guarded().extended.map(|extended| acl::encode(inode.mode, Some(extended))),
    }
}

fn space(name: &[u8]) -> Result<Space> {
    if name.len() > NAME_MAX {
        return Err(Error::Range);
    }
    match name {
        acl::ACCESS => return Ok(Space::AccessAcl),
        acl::DEFAULT => return Ok(Space::DefaultAcl),
        _ => {}
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
    Err(Error::NotSupported("extended attributes but user., trusted., security. and ACLs".into()))
}

fn check_write(caller: &Identity, inode: &Inode, name: &[u8]) -> Result<Space> {
    let space = space(name)?;
    match space {
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
        Space::AccessAcl | Space::DefaultAcl if inode.kind == FileKind::Symlink => {
            Err(Error::NotSupported("ACLs of symbolic links".into()))
        }
        Space::AccessAcl | Space::DefaultAcl => access::check_owner(caller, inode.guarded()),
    }?;
    Ok(space)
}

/// Also whoever may write a file takes its capabilities away: the kernel does so on their behalf, when it truncates or
/// gets another owner.
fn check_remove(caller: &Identity, inode: &Inode, name: &[u8]) -> Result<Space> {
    if name == CAPABILITY {
        access::check_owner(caller, inode.guarded())
            .or_else(|_| access::check(caller, inode.guarded(), Wanted::WRITE))?;
        return Ok(Space::Security);
    }
    check_write(caller, inode, name)
}

/// The attribute `name` of an inode, if the caller may read it; an ACL anybody may.
pub(in crate::state) fn read(
    rows: Rows<'_>,
    caller: &Identity,
    inode: &Inode,
    name: &[u8],
) -> Result<Vec<u8>> {
    let space = space(name)?;
    match space {
        Space::Trusted if !caller.is_root() => return Err(Error::NoAttribute),
        Space::Trusted | Space::Security => {}
        Space::User if !has_user_space(inode) => return Err(Error::NoAttribute),
        Space::User => access::check(caller, inode.guarded(), Wanted::READ)?,
        Space::AccessAcl | Space::DefaultAcl if inode.kind == FileKind::Symlink => {
            return Err(Error::NotSupported("ACLs of symbolic links".into()));
        }
        Space::AccessAcl | Space::DefaultAcl => {
            return acl_of(inode, &space).ok_or(Error::NoAttribute);
        }
    }
    load(rows.read, &rows.keys.xattr(inode.ino, name))?.ok_or(Error::NoAttribute)
}

/// Names of the attributes that the caller sees.
pub(in crate::state) fn list(
    rows: Rows<'_>,
    caller: &Identity,
    inode: &Inode,
) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for (name, space) in [(acl::ACCESS, Space::AccessAcl), (acl::DEFAULT, Space::DefaultAcl)] {
        if acl_of(inode, &space).is_some() {
            names.push(name.to_vec());
        }
    }
    let hidden = |name: &[u8]| !caller.is_root() && name.starts_with(b"trusted.");
    names.extend(rows.xattr_names(inode.ino)?.into_iter().filter(|name| !hidden(name)));
    Ok(names)
}

/// The mode of links and devices says nothing about who may keep data there.
fn has_user_space(inode: &Inode) -> bool {
    matches!(inode.kind, FileKind::File | FileKind::Directory)
}
