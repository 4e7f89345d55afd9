//! Names in directories: made, removed, moved, listed.

use std::sync::Arc;

use xtfs_core::access::Identity;
use xtfs_core::{Error, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::Action;
use crate::state::command::{Link, Mkdir, Mknod, Rename, RenameMode, Symlink, Unlink};

/// Entries in one answer, whatever is asked for.
const ENTRIES_MAX: u32 = 4096;

pub(crate) async fn mknod(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::MknodRequest,
) -> Result<v1::InodeReply> {
    let action = Action::Mknod(Mknod {
        parent: Ino(request.parent),
        kind: encode::kind_from(request.kind())?,
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        rdev: request.rdev,
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, VolumeId(request.volume), action).await
}

pub(crate) async fn mkdir(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::MkdirRequest,
) -> Result<v1::InodeReply> {
    let action = Action::Mkdir(Mkdir {
        parent: Ino(request.parent),
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, VolumeId(request.volume), action).await
}

pub(crate) async fn symlink(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SymlinkRequest,
) -> Result<v1::InodeReply> {
    let action = Action::Symlink(Symlink {
        parent: Ino(request.parent),
        name: request.name.into(),
        target: request.target.into(),
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, VolumeId(request.volume), action).await
}

pub(crate) async fn link(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LinkRequest,
) -> Result<v1::InodeReply> {
    let action = Action::Link(Link {
        ino: Ino(request.ino),
        parent: Ino(request.parent),
        name: request.name.into(),
    });
    mrc.change_inode(&call, VolumeId(request.volume), action).await
}

pub(crate) async fn unlink(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::UnlinkRequest,
) -> Result<v1::DoneReply> {
    let unlink = Unlink { parent: Ino(request.parent), name: request.name.into() };
    let done = mrc.change_done(&call, VolumeId(request.volume), Action::Unlink(unlink)).await;
    mrc.wake.deletion.notify_one();
    done
}

pub(crate) async fn rmdir(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::UnlinkRequest,
) -> Result<v1::DoneReply> {
    let rmdir = Unlink { parent: Ino(request.parent), name: request.name.into() };
    mrc.change_done(&call, VolumeId(request.volume), Action::Rmdir(rmdir)).await
}

pub(crate) async fn rename(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::RenameRequest,
) -> Result<v1::DoneReply> {
    let mode = match (request.no_replace, request.exchange) {
        (false, false) => RenameMode::Replace,
        (true, false) => RenameMode::NoReplace,
        (false, true) => RenameMode::Exchange,
        (true, true) => {
            return Err(Error::Invalid("no_replace and exchange exclude each other".into()));
        }
    };
    let action = Action::Rename(Rename {
        parent: Ino(request.parent),
        name: request.name.into(),
        new_parent: Ino(request.new_parent),
        new_name: request.new_name.into(),
        mode,
    });
    let done = mrc.change_done(&call, VolumeId(request.volume), action).await;
    // What was replaced may be to delete.
    mrc.wake.deletion.notify_one();
    done
}

pub(crate) async fn readlink(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::InodeRequest,
) -> Result<v1::ReadlinkReply> {
    let log = mrc.barrier(&call).await?;
    let target =
        mrc.view(|view| view.volume(VolumeId(request.volume))?.read_link(Ino(request.ino)))?;
    Ok(v1::ReadlinkReply { log: Some(log), target: target.into() })
}

pub(crate) async fn read_dir(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::ReadDirRequest,
) -> Result<v1::ReadDirReply> {
    let log = mrc.barrier(&call).await?;
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let limit = match request.limit {
        0 => ENTRIES_MAX,
        limit => limit.min(ENTRIES_MAX),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let caller = (!request.by_handle).then(|| Identity::from(call.header.caller.clone()));
    let listing = mrc.view(|view| {
        view.volume(volume)?.read_dir(caller.as_ref(), ino, request.after, limit, request.plus)
    })?;
    let inodes: Vec<_> = listing.entries.iter().filter_map(|entry| entry.inode.as_ref()).collect();
    let seen = mrc.seen_all(&call, volume, &inodes).await?;
    let mut seen = seen.into_iter();
    let entries = listing.entries.iter().map(|entry| v1::DirectoryEntry {
        name: entry.name.clone().into(),
        ino: entry.ino.0,
        kind: encode::kind(entry.kind).into(),
        cookie: entry.cookie,
        attributes: entry
            .inode
            .as_ref()
            .and_then(|_| seen.next())
            .map(|seen| encode::attributes(&seen)),
    });
    let entries = entries.collect();
    if request.after == 0 {
        mrc.touch(volume, ino).await;
    }
    Ok(v1::ReadDirReply { log: Some(log), entries, end: listing.end, parent: listing.parent.0 })
}
