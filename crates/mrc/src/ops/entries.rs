//! Names in directories: made, removed, moved, listed.

use std::collections::BTreeSet;
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
    let (volume, parent) = (VolumeId(request.volume), Ino(request.parent));
    let _name = mrc.names.hold(volume, (parent, &request.name)).await;
    let _changing = mrc.exclude(&call, volume, [parent]).await?;
    let action = Action::Mknod(Mknod {
        parent,
        kind: encode::kind_from(request.kind())?,
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        rdev: request.rdev,
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, volume, &[parent], action).await
}

pub(crate) async fn mkdir(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::MkdirRequest,
) -> Result<v1::InodeReply> {
    let (volume, parent) = (VolumeId(request.volume), Ino(request.parent));
    let _name = mrc.names.hold(volume, (parent, &request.name)).await;
    let _changing = mrc.exclude(&call, volume, [parent]).await?;
    let action = Action::Mkdir(Mkdir {
        parent,
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, volume, &[parent], action).await
}

pub(crate) async fn symlink(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SymlinkRequest,
) -> Result<v1::InodeReply> {
    let (volume, parent) = (VolumeId(request.volume), Ino(request.parent));
    let _name = mrc.names.hold(volume, (parent, &request.name)).await;
    let _changing = mrc.exclude(&call, volume, [parent]).await?;
    let action = Action::Symlink(Symlink {
        parent,
        name: request.name.into(),
        target: request.target.into(),
        ino: mrc.ino().await?,
    });
    mrc.change_inode(&call, volume, &[parent], action).await
}

pub(crate) async fn link(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LinkRequest,
) -> Result<v1::InodeReply> {
    let (volume, parent) = (VolumeId(request.volume), Ino(request.parent));
    let ino = Ino(request.ino);
    let _name = mrc.names.hold(volume, (parent, &request.name)).await;
    let _changing = mrc.exclude(&call, volume, [parent, ino]).await?;
    let action = Action::Link(Link { ino, parent, name: request.name.into() });
    mrc.change_inode(&call, volume, &[parent], action).await
}

pub(crate) async fn unlink(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::UnlinkRequest,
) -> Result<v1::DoneReply> {
    let done = remove(&mrc, &call, request, Action::Unlink).await;
    mrc.wake.deletion.notify_one();
    done
}

pub(crate) async fn rmdir(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::UnlinkRequest,
) -> Result<v1::DoneReply> {
    remove(&mrc, &call, request, Action::Rmdir).await
}

async fn remove(
    mrc: &Mrc,
    call: &Call,
    request: v1::UnlinkRequest,
    action: fn(Unlink) -> Action,
) -> Result<v1::DoneReply> {
    let (volume, parent) = (VolumeId(request.volume), Ino(request.parent));
    let name = request.name;
    let _name = mrc.names.hold(volume, (parent, &name)).await;
    let child = mrc.view(|view| view.volume(volume)?.child(parent, &name))?;
    let touched: Vec<_> = [parent].into_iter().chain(child).collect();
    let remove = action(Unlink { parent, name: name.to_vec() });
    mrc.change_known(call, volume, &touched, remove).await
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
    let volume = VolumeId(request.volume);
    let (from, to) = (Ino(request.parent), Ino(request.new_parent));
    let names = ((from, request.name.as_ref()), (to, request.new_name.as_ref()));
    let _names = mrc.names.hold_both(volume, names.0, names.1).await;
    let children = mrc.view(|view| {
        let volume = view.volume(volume)?;
        Ok([volume.child(from, &request.name)?, volume.child(to, &request.new_name)?])
    })?;
    let touched: BTreeSet<_> =
        [from, to].into_iter().chain(children.into_iter().flatten()).collect();
    let touched: Vec<_> = touched.into_iter().collect();
    let action = Action::Rename(Rename {
        parent: from,
        name: request.name.to_vec(),
        new_parent: to,
        new_name: request.new_name.to_vec(),
        mode,
    });
    let done = mrc.change_known(&call, volume, &touched, action).await;
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
    if request.after == 0 {
        mrc.touch(&call, volume, ino).await;
    }
    let promise = mrc.promise(&call, volume, ino);
    let (listing, policy) = mrc.view(|view| {
        let volume = view.volume(volume)?;
        let page = volume.read_dir(caller.as_ref(), ino, request.after, limit)?;
        Ok((page, volume.volume().policy))
    })?;
    let lease = promise.keep(&listing.directory, &policy);
    let mut reply = v1::ReadDirReply {
        log: Some(log),
        entries: listing.entries.iter().map(encode::entry).collect(),
        end: listing.end,
        parent: listing.directory.parent.0,
        directory: lease.map(|lease| encode::known(&listing.directory, lease)),
    };
    if request.plus {
        describe(&mrc, &call, volume, &mut reply.entries, request.at_hand).await?;
    }
    Ok(reply)
}

/// Adds what the entries' inodes are like, but for those that are gone meanwhile, or not at hand.
async fn describe(
    mrc: &Mrc,
    call: &Call,
    volume: VolumeId,
    entries: &mut [v1::DirectoryEntry],
    at_hand: bool,
) -> Result<()> {
    // What others hide is being written, and so not at hand.
    for ino in entries.iter().map(|entry| Ino(entry.ino)).filter(|_| !at_hand) {
        if mrc.hides(call, volume, ino) {
            let _looking = mrc.look_for(call, volume, ino).await?;
        }
    }
    let promises: Vec<_> =
        entries.iter().map(|entry| mrc.promise(call, volume, Ino(entry.ino))).collect();
    let (inodes, policy) = mrc.view(|view| {
        let volume = view.volume(volume)?;
        let inode = |entry: &v1::DirectoryEntry| match volume.inode(Ino(entry.ino)) {
            Ok(inode) => Ok(Some(inode).filter(|inode| !at_hand || !inode.writing)),
            Err(Error::NotFound | Error::StaleHandle) => Ok(None),
            Err(err) => Err(err),
        };
        let inodes = entries.iter().map(inode).collect::<Result<Vec<_>>>()?;
        Ok((inodes, volume.volume().policy))
    })?;
    let there: Vec<_> = inodes.iter().flatten().collect();
    let mut seen = mrc.seen_all(call, volume, &there).await?.into_iter();
    for ((entry, inode), promise) in entries.iter_mut().zip(&inodes).zip(promises) {
        if inode.is_some()
            && let Some(seen) = seen.next()
        {
            entry.attributes = Some(encode::attributes(&seen.attributes()));
            entry.lease = promise
                .keep(&seen, &policy)
                .map(|lease| mrc.with_right(call, volume, &seen, lease));
        }
    }
    Ok(())
}
