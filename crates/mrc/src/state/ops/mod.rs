//! One file per request: refuse first, then change.

mod append;
mod close;
mod default_layout;
mod delete;
mod entry;
mod link;
mod lock;
mod mknod;
mod open;
mod purge;
mod read;
mod rename;
pub(super) mod replica_set;
pub(super) mod reserve;
pub(super) mod session;
mod set_attr;
mod settle;
mod unlink;
pub(super) mod volume;
mod xattr;

use xtfs_core::{Error, Result};

use super::change::Change;
use super::command::{Action, Answer};

pub(super) use entry::check_name;
pub(super) use read::moves as moves_atime;
pub(super) use xattr::{list as list_xattrs, read as read_xattr};

/// Symbolic links to longer targets are refused, as Linux does.
pub const TARGET_MAX: usize = 4095;
/// Names that one inode may have, and directories that one may hold.
pub const LINKS_MAX: u32 = 65000;

/// Carries out an action on a volume.
pub(super) fn on_volume(change: &mut Change<'_, '_>, action: Action) -> Result<Answer> {
    match action {
        Action::Mknod(mknod) => mknod::mknod(change, mknod),
        Action::Mkdir(mkdir) => mknod::mkdir(change, mkdir),
        Action::Symlink(symlink) => mknod::symlink(change, symlink),
        Action::Link(link) => link::link(change, &link),
        Action::Unlink(unlink) => unlink::unlink(change, &unlink),
        Action::Rmdir(unlink) => unlink::rmdir(change, &unlink),
        Action::Rename(rename) => rename::rename(change, &rename),
        Action::SetAttr(set) => set_attr::set_attr(change, &set, None),
        Action::GiveSetIds(give) => set_attr::set_attr(change, &give.set, Some(give.epoch)),
        Action::SetXattr(set) => xattr::set(change, &set),
        Action::RemoveXattr(remove) => xattr::remove(change, &remove),
        Action::SetDefaultLayout(set) => default_layout::set(change, set),
        Action::Create(create) => open::create(change, create),
        Action::Open(open) => open::open(change, open),
        Action::Close(closed) => close::close(change, &closed),
        Action::Report(report) => close::report(change, &report),
        Action::BeginAppend(append) => append::begin(change, append),
        Action::EndAppend(append) => append::end(change, &append),
        Action::Read(touched) => read::read(change, &touched),
        Action::Settle(settle) => settle::settle(change, &settle),
        Action::BeginDelete(inos) => delete::begin(change, &inos),
        Action::FinishDelete(inos) => delete::finish(change, &inos),
        Action::PurgeVolume => purge::purge(change),
        Action::Lock(lock) => lock::lock(change, lock),
        Action::Nothing
        | Action::Reserve(_)
        | Action::CreateVolume(_)
        | Action::DeleteVolume(_)
        | Action::SetVolume(_)
        | Action::OpenSession(_)
        | Action::EndSession(_)
        | Action::CreateSets(_)
        | Action::ForgetNeverUsed(_) => {
            Err(Error::Internal("an action of the group was taken for a volume's".into()))
        }
    }
}
