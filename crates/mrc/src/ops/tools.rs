//! What tools ask: where a file lies, what fsck compares, how the service is.

use std::sync::Arc;

use xtfs_core::{Ino, NAME_MAX, Result, StripeLayout, VolumeId};
use xtfs_proto::v1;

use super::volume::check_width;
use crate::encode;
use crate::mrc::{Mrc, columns};
use crate::service::Call;
use crate::state::Action;
use crate::state::command::SetDefaultLayout;

/// Inodes in one answer of a scan.
const SCAN_MAX: u32 = 1024;

pub(crate) async fn where_is(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::InodeRequest,
) -> Result<v1::WhereReply> {
    let log = mrc.barrier(&call).await?;
    let volume = VolumeId(request.volume);
    let _looking = mrc.look_for(&call, volume, Ino(request.ino)).await?;
    let inode = mrc.inode(volume, Ino(request.ino))?;
    let default_layout = match inode.is_directory() {
        true => Some(mrc.default_layout(volume, inode.ino)?.into()),
        false => None,
    };
    let layout = inode.layout.as_ref().map(|layout| mrc.file_layout(layout)).transpose()?;
    // Where it lies can be said while a column is silent; the size as known then.
    let seen = match mrc.seen(&call, volume, &inode).await {
        Ok(seen) => seen,
        Err(err) if err.is_retryable() => inode,
        Err(err) => return Err(err),
    };
    let attributes = Some(encode::attributes(&seen.attributes()));
    Ok(v1::WhereReply { log: Some(log), attributes, layout, default_layout })
}

pub(crate) async fn set_default_layout(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SetDefaultLayoutRequest,
) -> Result<v1::InodeReply> {
    let layout = request.layout.map(StripeLayout::try_from).transpose()?;
    if let Some(layout) = layout {
        check_width(&mrc, layout).await?;
    }
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let _changing = mrc.exclude(&call, volume, [ino]).await?;
    let set = SetDefaultLayout { ino, layout };
    mrc.change_inode(&call, volume, &[], Action::SetDefaultLayout(set)).await
}

pub(crate) async fn scan(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::ScanRequest,
) -> Result<v1::ScanReply> {
    let log = mrc.barrier(&call).await?;
    let volume = VolumeId(request.volume);
    let limit = match request.limit {
        0 => SCAN_MAX,
        limit => limit.min(SCAN_MAX),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let scanned = mrc.view(|view| view.volume(volume)?.scan(Ino(request.after), limit))?;
    let end = scanned.len() < limit;
    let mut entries = Vec::with_capacity(scanned.len());
    let mut deleting = Vec::new();
    for entry in scanned {
        let layout = entry.inode.layout.as_ref();
        if let Some(layout) = layout.filter(|_| entry.inode.nlink == 0) {
            deleting.extend(columns(volume, layout).map(v1::ColumnId::from));
        }
        entries.push(v1::ScanEntry {
            layout: layout.map(|layout| mrc.file_layout(layout)).transpose()?,
            attributes: Some(encode::attributes(&entry.inode.attributes())),
            pending: entry.pending,
            file_epoch: entry.inode.file_epoch.0,
            links: entry.links,
        });
    }
    Ok(v1::ScanReply { log: Some(log), entries, end, deleting })
}

pub(crate) async fn path_of(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::InodeRequest,
) -> Result<v1::PathReply> {
    let log = mrc.barrier(&call).await?;
    let path = mrc.view(|view| view.volume(VolumeId(request.volume))?.path_of(Ino(request.ino)))?;
    Ok(v1::PathReply { log: Some(log), path: path.into() })
}

pub(crate) async fn statfs(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::VolumeRequest,
) -> Result<v1::StatfsReply> {
    /// Inode numbers have 63 bits; `df -i` shows that they do not run out.
    const FILES_MAX: u64 = 1 << 40;
    let log = mrc.barrier(&call).await?;
    let usage = mrc.view(|view| view.volume(VolumeId(request.volume))?.usage())?;
    let capacity = mrc.capacity();
    Ok(v1::StatfsReply {
        log: Some(log),
        total_bytes: capacity.total_bytes,
        free_bytes: capacity.free_bytes,
        available_bytes: capacity.available_bytes,
        files: FILES_MAX,
        files_free: FILES_MAX.saturating_sub(usage.files),
        name_max: u32::try_from(NAME_MAX).unwrap_or(u32::MAX),
    })
}

pub(crate) async fn status(
    mrc: Arc<Mrc>,
    call: Call,
    _request: v1::StatusRequest,
) -> Result<v1::StatusReply> {
    let log = mrc.barrier(&call).await?;
    let counts = mrc.counts()?;
    Ok(v1::StatusReply {
        log: Some(log),
        sessions: counts.sessions,
        open_files: counts.open_files,
        deletions_pending: counts.deletions,
        settlements_pending: counts.settlements,
        free_bytes: mrc.free_bytes(),
        fault: mrc.fault().unwrap_or_default(),
    })
}
