//! Sessions: opened at mount, kept alive over a stream, closed at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};
use xtfs_core::{ClientId, Error, Result, SessionId, VolumeId};
use xtfs_proto::{Header, from_status, v1};

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::command::OpenSession;
use crate::state::{Action, Answer};

/// Answers that wait for a client which does not read; then its keep-alives wait as well.
const DOWN_QUEUE: usize = 16;

pub(crate) async fn open_session(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::OpenSessionRequest,
) -> Result<v1::OpenSessionReply> {
    let action = Action::OpenSession(OpenSession {
        session: SessionId(mrc.number().await?),
        client: ClientId::from_wire(&request.client)?,
        description: request.description,
    });
    let (answer, log) = mrc.change(&call, VolumeId(request.volume), action).await?;
    let Answer::Session(session) = answer else {
        return Err(Error::Internal(format!("an open session answered {answer:?}")));
    };
    mrc.clocks.renew(session.session, Instant::now());
    let policy = mrc.view(|view| Ok(view.volume(session.volume)?.volume().policy))?;
    Ok(v1::OpenSessionReply {
        log: Some(log),
        session: session.session.0,
        expiry_ms: milliseconds(mrc.clocks.expiry()),
        renew_ms: milliseconds(mrc.clocks.renewal()),
        chown_non_root: policy.chown_non_root,
    })
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(crate) async fn close_session(
    mrc: Arc<Mrc>,
    call: Call,
    _request: v1::CloseSessionRequest,
) -> Result<v1::DoneReply> {
    let log = mrc.end_session(call.header.session).await?;
    Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
}

/// Answers each keep-alive with the positions of the log, and tells what is recalled. The stream ends with the session,
/// with the client's side, or when this server stops.
pub(crate) async fn session(
    mrc: Arc<Mrc>,
    mut up: Streaming<v1::SessionUp>,
) -> Result<impl Stream<Item = Result<v1::SessionDown, Status>> + Send + 'static> {
    let first = up.message().await.map_err(|status| from_status(&status))?;
    let mut first =
        first.ok_or_else(|| Error::Invalid("the session stream began with nothing".into()))?;
    let header = Header::try_from(first.header.take())?;
    let session = header.session;
    if session == SessionId(0) {
        return Err(Error::Invalid("the session stream names no session".into()));
    }
    mrc.check_addressee(&header)?;
    let volume = mrc.view(|view| Ok(view.session(session)?.volume)).ok();
    let (down, answers) = mpsc::channel(DOWN_QUEUE);
    let served = mrc.clone();
    mrc.tasks.spawn(async move {
        let takes_leases = first.takes_leases;
        let answer = served.keep_alive(session, &first).await;
        let known = answer.as_ref().is_ok_and(|answer| !answer.lost);
        if down.send(answer.map_err(xtfs_proto::to_status)).await.is_err() || !known {
            return;
        }
        // Not before it is known that the session is there: it might have ended just now.
        let listening = volume.filter(|_| takes_leases).map(|_| served.leases.listen(session));
        if !served.clocks.knows(session) {
            return served.leases.forget(session);
        }
        loop {
            let recalls = async {
                match &listening {
                    Some(listening) => listening.recalls().await,
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                () = served.stop.cancelled() => return,
                recalls = recalls => Ok(v1::SessionDown {
                    recalls: recalls.into_iter().map(encode::recall).collect(),
                    ..Default::default()
                }),
                message = up.next() => {
                    let Some(Ok(message)) = message else { return };
                    if let Some(volume) = volume {
                        let recalls = message.recalled.iter().map(|it| encode::recall_from(volume, *it));
                        served.leases.recalled(session, &recalls.collect::<Vec<_>>());
                    }
                    if message.sequence == 0 {
                        continue;
                    }
                    served.keep_alive(session, &message).await
                }
            };
            let lost = answer.as_ref().map_or(true, |answer| answer.lost);
            if down.send(answer.map_err(xtfs_proto::to_status)).await.is_err() || lost {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(answers))
}
