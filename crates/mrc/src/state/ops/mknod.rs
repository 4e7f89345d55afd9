//! New inodes: files, directories, symbolic links, devices; and what their directory hands down to them.

use xtfs_core::access::{MODE_MASK, SGID, STICKY};
use xtfs_core::acl::Acl;
use xtfs_core::{Error, Result};

use super::{LINKS_MAX, TARGET_MAX};
use crate::state::change::Change;
use crate::state::command::{Answer, Mkdir, Mknod, Symlink};
use crate::state::inode::{FileKind, Inode};

pub(super) fn mknod(change: &mut Change<'_, '_>, mknod: Mknod) -> Result<Answer> {
    let Mknod { parent, name, kind, mode, umask, rdev, ino } = mknod;
    match kind {
        FileKind::File
        | FileKind::Fifo
        | FileKind::Socket
        | FileKind::CharDevice
        | FileKind::BlockDevice => {}
        FileKind::Directory | FileKind::Symlink => {
            return Err(Error::Invalid("mknod makes no directories and no links".into()));
        }
    }
    let directory = change.find_free(parent, &name)?;
    let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    // No device at all, but what overlay file systems take for a removed file.
    let is_whiteout = kind == FileKind::CharDevice && rdev == 0;
    if is_device && !is_whiteout && !change.caller.is_root() {
        return Err(Error::NotPermitted);
    }
    change.check_unused(ino)?;
    let mut inode = change.new_inode(ino, kind, &directory);
    let mode = file_mode(change, &inode, mode);
    inherit(&directory, &mut inode, mode, umask);
    inode.rdev = if is_device { rdev } else { 0 };
    change.add(&directory, &name, inode)
}

pub(super) fn mkdir(change: &mut Change<'_, '_>, mkdir: Mkdir) -> Result<Answer> {
    let Mkdir { parent, name, mode, umask, ino } = mkdir;
    let directory = change.find_free(parent, &name)?;
    if directory.nlink >= LINKS_MAX {
        return Err(Error::TooManyLinks);
    }
    change.check_unused(ino)?;
    let mut inode = change.new_inode(ino, FileKind::Directory, &directory);
    // As Linux does: set-ids are not for the asking, but sgid is handed down.
    let mode = mode & (0o777 | STICKY) | directory.mode & SGID;
    inherit(&directory, &mut inode, mode, umask);
    let answer = change.add(&directory, &name, inode)?;
    change.change_inode(parent, |directory| directory.nlink += 1)?;
    Ok(answer)
}

pub(super) fn symlink(change: &mut Change<'_, '_>, symlink: Symlink) -> Result<Answer> {
    let Symlink { parent, name, target, ino } = symlink;
    if target.is_empty() {
        return Err(Error::NotFound);
    }
    if target.len() > TARGET_MAX {
        return Err(Error::NameTooLong);
    }
    if target.contains(&0) {
        return Err(Error::Invalid("the target of a link has a NUL in it".into()));
    }
    let directory = change.find_free(parent, &name)?;
    change.check_unused(ino)?;
    let mut inode = change.new_inode(ino, FileKind::Symlink, &directory);
    inode.mode = 0o777;
    inode.size = target.len() as u64;
    inode.target = target;
    change.add(&directory, &name, inode)
}

/// The mode of a new file. A set-group-id program must not be made for a group that its maker is not in.
pub(super) fn file_mode(change: &Change<'_, '_>, inode: &Inode, mode: u32) -> u32 {
    let mode = mode & MODE_MASK;
    let runs_as_group = mode & SGID != 0 && mode & 0o010 != 0;
    let is_member = change.caller.is_root() || change.caller.in_group(inode.gid);
    if runs_as_group && !is_member { mode & !SGID } else { mode }
}

/// The permissions of a new inode: with a default ACL in its directory the umask does not count.
pub(super) fn inherit(directory: &Inode, inode: &mut Inode, mode: u32, umask: u32) {
    let Some(default) = directory.default_acl() else {
        inode.mode = mode & !(umask & 0o777);
        return;
    };
    let Acl { bits, extended } = default.inherited(mode);
    inode.mode = mode & !0o777 | bits;
    let default = inode.is_directory().then(|| default.clone());
    inode.change_acls(|acls| {
        acls.access = extended;
        acls.default = default;
    });
}

impl Change<'_, '_> {
    pub(super) fn add(&mut self, directory: &Inode, name: &[u8], inode: Inode) -> Result<Answer> {
        self.put_inode(&inode)?;
        self.put_entry(directory.ino, name, inode.ino, inode.kind)?;
        Ok(Answer::Inode(Box::new(inode)))
    }
}
