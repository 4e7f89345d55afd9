//! Files opened, renewed, synced and closed.

use std::sync::Arc;

use xtfs_core::access::Identity;
use xtfs_core::{Error, FileEpoch, Floor, Ino, Result, Timestamp, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::{Mrc, OSD_DEADLINE_MAX, TRIES_MAX};
use crate::service::Call;
use crate::state::command::{Close, Create, Open, OpenMode, Opened, Report, Touch};
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
    let name = request.name.clone();
    let ino = mrc.ino().await?;
    let _name = mrc.names.hold(volume, (parent, &name)).await;
    let child = mrc.view(|view| view.volume(volume)?.child(parent, &name))?;
    // Whatever is wrong with it, the command will say. A free name stays free: it is held.
    let lookup = || mrc.view(|view| view.volume(volume)?.lookup(&caller, parent, &name)).ok();
    let look = || child.and_then(|_| lookup());
    // Others know neither that a new name is there nor what is written to an old one.
    let touched = match child {
        None => vec![parent],
        Some(child) if open.write || open.truncate => vec![child],
        Some(_) => Vec::new(),
    };
    let _changing = mrc.exclude(&call, volume, touched).await?;
    let _looking = match child {
        Some(child) => Some(mrc.look_for(&call, volume, child).await?),
        None => None,
    };
    let mut offer = Offer::default();
    if open.write && look().is_none_or(|inode| inode.layout.is_none()) {
        offer = Offer::make(&mrc, &call, volume, parent).await;
    }
    let create = Create {
        parent,
        name: request.name.into(),
        mode: request.mode,
        umask: request.umask,
        exclusive: request.exclusive,
        open,
        ino,
        layout: offer.layout.take(),
        epoch: None,
    };
    let action = |epoch| Action::Create(Create { epoch, ..create.clone() });
    let opened = change_opened(&mrc, &call, volume, open, look, action).await;
    let (opened, log) = offer.explain(opened)?;
    let reply = finish_open(&mrc, &call, volume, opened, open, log).await?;
    Ok(v1::OpenReply { known: mrc.known(&call, volume, [parent]), ..reply })
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
    let touched = (open.write || open.truncate).then_some(ino);
    let _changing = mrc.exclude(&call, volume, touched).await?;
    let _looking = mrc.look_for(&call, volume, ino).await?;
    let before = mrc.inode(volume, ino)?;
    let mut offer = Offer::default();
    if open.write && before.layout.is_none() && before.kind == FileKind::File {
        let parent = mrc.parent_of(volume, ino)?;
        offer = Offer::make(&mrc, &call, volume, parent).await;
    }
    let layout = offer.layout.take();
    let look = || mrc.inode(volume, ino).ok();
    let action = |epoch| Action::Open(Open { ino, open, layout: layout.clone(), epoch });
    let opened = change_opened(&mrc, &call, volume, open, look, action).await;
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
    let root_squash = mrc.view(|view| Ok(view.volume(volume)?.volume().policy.root_squash))?;
    let mut reply = granted(&mrc, &call, volume, &inode, request.write)?;
    reply.root_squash = root_squash;
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
    let volume = VolumeId(request.volume);
    let close = |closed: v1::Closed| {
        let report = closed.report.map(encode::write_report).transpose()?;
        Ok(Close { ino: Ino(closed.ino), write: closed.write, report })
    };
    let closed = request.closed.into_iter().map(close).collect::<Result<Vec<_>>>()?;
    let inos: Vec<_> = closed.iter().map(|close| (close.ino, close.write)).collect();
    let done = mrc.change_done(&call, volume, Action::Close(closed)).await;
    for (ino, write) in inos {
        if write {
            mrc.share_closed(&call, volume, ino);
            mrc.appenders.tell(volume, ino);
        }
        mrc.locks_changed(volume, ino);
    }
    mrc.wake.settlement.notify_one();
    mrc.wake.deletion.notify_one();
    done
}

/// Files were read, some time ago.
pub(crate) async fn touch(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::TouchRequest,
) -> Result<v1::DoneReply> {
    let log = mrc.barrier(&call).await?;
    let touch = |it: v1::Touched| Touch { ino: Ino(it.ino), at: Timestamp(it.at_ns) };
    let touched = request.touched.into_iter().map(touch).collect();
    mrc.touch_all(&call, VolumeId(request.volume), touched).await;
    Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
}

/// What was answered before is on disk when this is answered.
pub(crate) async fn sync(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::SyncMetadataRequest,
) -> Result<v1::DoneReply> {
    if let Some(report) = request.report {
        let report = Report { ino: Ino(request.ino), report: encode::write_report(report)? };
        mrc.change_done(&call, VolumeId(request.volume), Action::Report(report)).await?;
    }
    let log = mrc.sync().await?;
    Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
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

/// `look` finds the file, if it is there; `action` takes the epoch of the cut.
async fn change_opened(
    mrc: &Mrc,
    call: &Call,
    volume: VolumeId,
    open: OpenMode,
    look: impl Fn() -> Option<Inode>,
    action: impl Fn(Option<FileEpoch>) -> Action,
) -> Result<(Opened, v1::LogStatus)> {
    let mut refused = Error::Unavailable("the file changed too often".into());
    for _ in 0..TRIES_MAX {
        let before = look();
        let cuts =
            open.truncate && before.as_ref().is_some_and(|inode| inode.resize_needs_epoch(0));
        let epoch = if cuts { Some(FileEpoch(mrc.number().await?)) } else { None };
        match (mrc.change(call, volume, action(epoch)).await, before) {
            (Ok((Answer::Opened(opened), log)), _) => return Ok((*opened, log)),
            (Ok((other, _)), _) => {
                return Err(Error::Internal(format!("an open answered {other:?}")));
            }
            // A file whose writer died is settled first (R4), or data came meanwhile.
            (Err(Error::Unavailable(why)), Some(before)) => {
                let limit = call.left().min(OSD_DEADLINE_MAX);
                if let Err(err) = mrc.settle(volume, before.ino, limit).await {
                    return Err(Error::Unavailable(format!("{why}: {err}")));
                }
                refused = Error::Unavailable(why);
            }
            (Err(err), _) => return Err(err),
        }
    }
    Err(refused)
}

/// Gives the capability. What was cut is sealed first, so that a reader finds it cut.
async fn finish_open(
    mrc: &Arc<Mrc>,
    call: &Call,
    volume: VolumeId,
    opened: Opened,
    open: OpenMode,
    log: v1::LogStatus,
) -> Result<v1::OpenReply> {
    let Opened { inode, created, .. } = opened;
    if open.truncate && inode.floor != Floor::NONE {
        mrc.seal(call, volume, inode.ino).await;
    }
    let alone = inode.writer == Some(call.header.session) && open.write;
    if open.read && !created {
        mrc.touch(call, volume, inode.ino).await;
    }
    let promise = mrc.promise(call, volume, inode.ino);
    let mut reply = granted(mrc, call, volume, &inode, open.write)?;
    let (now, policy) = mrc.look(volume, inode.ino)?;
    reply.root_squash = policy.root_squash;
    // Who is the only writer, and has just opened the file, has not written yet.
    let seen =
        if created || open.truncate && alone { now } else { mrc.seen(call, volume, &now).await? };
    reply.log = Some(log);
    reply.attributes = Some(encode::attributes(&seen.attributes()));
    reply.lease = promise.keep(&seen, &policy);
    if alone && let Some(lease) = reply.lease.take() {
        reply.lease = Some(mrc.for_writer(call, volume, inode.ino, lease)?);
    }
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
