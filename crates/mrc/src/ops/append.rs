//! Turns to append.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use xtfs_core::{Error, FileEpoch, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::appenders::Place;
use crate::encode;
use crate::mrc::{Mrc, OSD_DEADLINE_MAX};
use crate::service::Call;
use crate::state::Action;
use crate::state::command::{Append, EndAppend};

/// Left of the request's time when the size is asked for.
const SIZE_TIME_MIN: Duration = Duration::from_secs(1);
/// Before a refused turn is asked for again, though nobody said that one has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// Those who wait have their turns in the order in which they came. The size is asked for with the turn: nobody else
/// appends any more, and who appended before has ended.
pub(crate) async fn begin_append(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::BeginAppendRequest,
) -> Result<v1::InodeReply> {
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let report = request.report.map(encode::write_report).transpose()?;
    let until = Instant::now() + call.left().saturating_sub(SIZE_TIME_MIN);
    let log = {
        let place = mrc.appenders.enter(volume, ino)?;
        let append = Append { ino, turn: request.turn };
        tokio::select! {
            given = timeout_at(until, first_in_turn(&mrc, &call, &place, volume, append)) => {
                given.map_err(|_| Error::Overloaded("other clients append to the file".into()))??
            }
            () = mrc.stop.cancelled() => return Err(Error::Unavailable("the MRC stops".into())),
        }
    };
    let now = mrc.inode(volume, ino)?;
    let seen = mrc.seen_by_writer(&call, volume, &now, report.as_ref()).await?;
    let attributes = Some(encode::attributes(&seen.attributes()));
    Ok(v1::InodeReply { log: Some(log), attributes, ..Default::default() })
}

async fn first_in_turn(
    mrc: &Mrc,
    call: &Call,
    place: &Place<'_>,
    volume: VolumeId,
    append: Append,
) -> Result<v1::LogStatus> {
    let _first = place.first().await;
    let session = call.header.session;
    loop {
        if !mrc.view(|view| view.volume(volume)?.may_append(append.ino, session))? {
            place.ended().await;
            continue;
        }
        match mrc.change(call, volume, Action::BeginAppend(append)).await {
            Ok((_, log)) => return Ok(log),
            Err(Error::Overloaded(_)) => {}
            // A writer has died, and what it wrote last must be known before anybody writes behind it.
            Err(Error::Unavailable(_)) => {
                mrc.settle(volume, append.ino, call.left().min(OSD_DEADLINE_MAX)).await?;
            }
            Err(err) => return Err(err),
        }
        drop(timeout(PAUSE, place.ended()).await);
    }
}

pub(crate) async fn end_append(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::EndAppendRequest,
) -> Result<v1::DoneReply> {
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let end = EndAppend {
        append: Append { ino, turn: request.turn },
        report: request.report.map(encode::write_report).transpose()?,
        epoch: match request.undecided {
            true => Some(FileEpoch(mrc.number().await?)),
            false => None,
        },
    };
    let done = mrc.change_done(&call, volume, Action::EndAppend(end)).await;
    mrc.appenders.tell(volume, ino);
    if request.undecided {
        mrc.wake.settlement.notify_one();
    }
    done
}
