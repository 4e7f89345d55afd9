//! Turns to append.

use std::sync::Arc;
use std::time::Duration;

use xtfs_core::{Error, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::Action;
use crate::state::command::Append;

/// A turn is waited for so long; then the client asks again, until its own deadline.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Left of the request's time when the size is asked for.
const SIZE_TIME_MIN: Duration = Duration::from_secs(1);

/// The size is asked for with the turn: nobody else appends any more, and who appended before has ended.
pub(crate) async fn begin_append(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::BeginAppendRequest,
) -> Result<v1::InodeReply> {
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let report = request.report.map(encode::write_report).transpose()?;
    let action = Action::BeginAppend(Append { ino, turn: request.turn });
    let until =
        tokio::time::Instant::now() + call.left().saturating_sub(SIZE_TIME_MIN).min(TURN_WAIT_MAX);
    let (_, log) = loop {
        // Before the look: an end in between wakes us.
        let ended = mrc.wake.append.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        let session = call.header.session;
        let is_free = mrc.view(|view| view.volume(volume)?.may_append(ino, session))?;
        if is_free {
            match mrc.change(&call, volume, action.clone()).await {
                Err(Error::Overloaded(_)) => {}
                done => break done?,
            }
        }
        if tokio::time::timeout_at(until, ended).await.is_err() {
            return Err(Error::Overloaded("another client appends to the file".into()));
        }
    };
    let now = mrc.inode(volume, ino)?;
    let seen = mrc.seen_by_writer(&call, volume, &now, report.as_ref()).await?;
    Ok(v1::InodeReply { log: Some(log), attributes: Some(encode::attributes(&seen)) })
}

pub(crate) async fn end_append(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::EndAppendRequest,
) -> Result<v1::DoneReply> {
    let action = Action::EndAppend(Append { ino: Ino(request.ino), turn: request.turn });
    let done = mrc.change_done(&call, VolumeId(request.volume), action).await;
    mrc.wake.append.notify_waiters();
    done
}
