//! Files opened, renewed, synced and closed.

use std::sync::Arc;

use xtfs_core::access::Identity;
use xtfs_core::{ColumnIndex, Error, FileEpoch, Ino, Result, Timestamp, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::{Asker, Mrc};
use crate::service::Call;
use crate::state::command::{Close, Create, Open, OpenMode, Opened, Report, SetAttr, WriteReport};
use crate::state::{Action, Answer, FileKind, Inode, Layout};

pub(crate) async fn create(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::CreateRequest,
) -> Result<v1::OpenReply> {
    let volume = VolumeId(request.volume);
    let parent = Ino(request.parent);
    let open = OpenMode {
        read: request.read,
        write: request.write,
        execute: false,
        truncate: request.truncate,
    };
    let caller = Identity::from(call.header.caller.clone());
    let lookup = mrc.view(|view| view.volume(volume)?.lookup(&caller, parent, &request.name));
    // Whatever is wrong with it, the command will say.
    let before = lookup.ok();
    let has_layout = before.as_ref().is_some_and(|inode| inode.layout.is_some());
    let mut offer = Offer::default();
    if open.write && !has_layout {
        offer = Offer::make(&mrc, &call, volume, parent).await;
    }
    let action = Action::Create(Create {
        parent,
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        exclusive: request.exclusive,
        open,
        ino: mrc.ino().await?,
        layout: offer.layout.take(),
    });
    let before = before.map(|inode| inode.ino);
    let opened = change_opened(&mrc, &call, volume, before, action).await;
    let (opened, log) = offer.explain(opened)?;
    finish_open(&mrc, &call, volume, opened, open, log).await
}

pub(crate) async fn open(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::OpenRequest,
) -> Result<v1::OpenReply> {
    let volume = VolumeId(request.volume);
    let ino = Ino(request.ino);
    let open = OpenMode {
        read: request.read,
        write: request.write,
        execute: request.execute,
        truncate: request.truncate,
    };
    let before = mrc.inode(volume, ino)?;
    let mut offer = Offer::default();
    if open.write && before.layout.is_none() && before.kind == FileKind::File {
        let parent = mrc.parent_of(volume, ino)?;
        offer = Offer::make(&mrc, &call, volume, parent).await;
    }
    let action = Action::Open(Open { ino, open, layout: offer.layout.take() });
    let opened = change_opened(&mrc, &call, volume, Some(ino), action).await;
    let (opened, log) = offer.explain(opened)?;
    finish_open(&mrc, &call, volume, opened, open, log).await
}

pub(crate) async fn renew(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::RenewRequest,
) -> Result<v1::OpenReply> {
    let log = mrc.barrier(&call).await?;
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let session = call.header.session;
    let opened = mrc.view(|view| view.volume(volume)?.opened(session, ino, request.write));
    let inode = match opened {
        Ok(opened) => opened.inode,
        Err(Error::Invalid(_)) => return Err(Error::StaleHandle),
        Err(err) => return Err(err),
    };
    let mut reply = granted(&mrc, &call, volume, &inode, request.write)?;
    reply.attributes = Some(encode::attributes(&inode.attributes()));
    reply.log = Some(log);
    Ok(reply)
}

/// Who was the only writer settles the size with the report; else the columns are asked (R3), by the
/// worker: until that is done whoever asks for the size asks the columns, too.
pub(crate) async fn close(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::CloseRequest,
) -> Result<v1::DoneReply> {
    let report = request.report.map(report_from).transpose()?;
    let action = Action::Close(Close { ino: Ino(request.ino), write: request.write, report });
    let done = mrc.change_done(&call, VolumeId(request.volume), action).await;
    if request.write {
        mrc.wake.settlement.notify_one();
    }
    mrc.wake.deletion.notify_one();
    done
}

/// What was answered before is on disk when this is answered.
pub(crate) async fn sync(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SyncMetadataRequest,
) -> Result<v1::DoneReply> {
    if let Some(report) = request.report {
        let report = Report { ino: Ino(request.ino), report: report_from(report)? };
        mrc.change_done(&call, VolumeId(request.volume), Action::Report(report)).await?;
    }
    let log = mrc.sync().await?;
    Ok(v1::DoneReply { log: Some(log) })
}

/// A layout for a file that may have none yet. If none can be had that is told only if it is needed: a
/// repeated request gets the answer that it had.
#[derive(Debug, Default)]
struct Offer {
    layout: Option<Layout>,
    missing: Option<Error>,
}

impl Offer {
    async fn make(mrc: &Arc<Mrc>, call: &Call, volume: VolumeId, parent: Ino) -> Offer {
        let place = async {
            let striping = mrc.default_layout(volume, parent)?;
            mrc.place(striping, call.deadline).await
        };
        match place.await {
            Ok(layout) => Offer { layout: Some(layout), missing: None },
            Err(err) => Offer { layout: None, missing: Some(err) },
        }
    }

    fn explain<T>(self, opened: Result<T>) -> Result<T> {
        match (opened, self.missing) {
            (Err(Error::Unavailable(_)), Some(missing)) => Err(missing),
            (opened, _) => opened,
        }
    }
}

async fn change_opened(
    mrc: &Mrc,
    call: &Call,
    volume: VolumeId,
    ino: Option<Ino>,
    action: Action,
) -> Result<(Opened, v1::LogStatus)> {
    let (answer, log) = mrc.change_settled(call, volume, ino, action).await?;
    match answer {
        Answer::Opened(opened) => Ok((*opened, log)),
        other => Err(Error::Internal(format!("an open answered {other:?}"))),
    }
}

/// Cuts the file if that was asked for, and gives the capability. A repeated request cuts again what
/// its first answer, which was lost, had cut: nobody has written under it.
async fn finish_open(
    mrc: &Arc<Mrc>,
    call: &Call,
    volume: VolumeId,
    opened: Opened,
    open: OpenMode,
    mut log: v1::LogStatus,
) -> Result<v1::OpenReply> {
    let Opened { mut inode, created, .. } = opened;
    if open.truncate && !created {
        let set = SetAttr {
            ino: inode.ino,
            mode: None,
            uid: None,
            gid: None,
            size: None,
            atime: None,
            mtime: None,
            by_handle: false,
            kill_set_ids: false,
            columns_mtime: None,
        };
        // Of its own, so that it is not taken for the open that was asked for.
        let asker = Asker { origin: None, ..call.asker() };
        (inode, log) = mrc.resize(call, asker, volume, set, 0).await?;
    }
    let alone = inode.writer == Some(call.header.session) && open.write;
    // Who is the only writer, and has just opened the file, has not written yet.
    let seen = if created || open.truncate && alone {
        inode.attributes()
    } else {
        mrc.seen(call, volume, &inode).await?
    };
    if open.read && !created {
        mrc.touch(volume, inode.ino).await;
    }
    let mut reply = granted(mrc, call, volume, &inode, open.write)?;
    reply.log = Some(log);
    reply.attributes = Some(encode::attributes(&seen));
    reply.created = created;
    Ok(reply)
}

/// Layout and capability. None of both for a file that nobody has opened for writing yet.
fn granted(
    mrc: &Mrc,
    call: &Call,
    volume: VolumeId,
    inode: &Inode,
    write: bool,
) -> Result<v1::OpenReply> {
    let Some(layout) = &inode.layout else {
        return Ok(v1::OpenReply::default());
    };
    Ok(v1::OpenReply {
        layout: Some(mrc.file_layout(layout)?),
        grant: Some(mrc.grant(call.header.session, volume, inode, layout, write)?),
        ..Default::default()
    })
}

fn report_from(wire: v1::WriteReport) -> Result<WriteReport> {
    let column = |column: v1::ColumnReport| {
        let index = u16::try_from(column.index)
            .map_err(|_| Error::Invalid(format!("column index {}", column.index)))?;
        Ok((ColumnIndex(index), column.allocated))
    };
    Ok(WriteReport {
        file_epoch: FileEpoch(wire.file_epoch),
        end: wire.end,
        mtime: Timestamp(wire.mtime_ns),
        allocated: wire.columns.into_iter().map(column).collect::<Result<_>>()?,
    })
}
