//! Keeps the session alive: renewals over one stream, and what the MRC tells on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use xtfs_core::{Error, Result, SessionId};
use xtfs_proto::v1::{Recall, SessionDown, SessionUp};
use xtfs_rpc::status_error;

use crate::lease::Moment;
use crate::mount::Mount;
use crate::retry::{Retry, pause};

/// How long a lost session is tried to be replaced before it is tried anew.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages to the MRC that wait; beyond it answers to recalls wait, and a renewal is left out.
const UP_QUEUE: usize = 1024;

/// Runs until the mount stops.
pub(crate) async fn keep_alive(mount: Arc<Mount>) {
    let (mrc, stop) = (&mount.mrc, &mount.stop);
    let mut failures = 0;
    loop {
        let mut answered = false;
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = renew(&mount, &mut answered) => ended,
        };
        if answered {
            failures = 0;
        }
        if let Err(err) = ended {
            mrc.suspect();
            if failures == 0 {
                tracing::warn!(%err, "the session stream ended; opening it again");
            }
            let wait = pause(failures, rand::random());
            failures += 1;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// One stream, until it fails.
async fn renew(mount: &Arc<Mount>, answered: &mut bool) -> Result<()> {
    let mrc = &mount.mrc;
    let session = mrc.session();
    let (mut service, header) = mrc.service_for_stream()?;
    let (up, queued) = mpsc::channel(UP_QUEUE);
    let mut announced = recovered_term(mount);
    let renewal = |sequence, recovered_term| SessionUp {
        sequence,
        lowest_unanswered: mrc.lowest_unanswered().0,
        recovered_term,
        ..SessionUp::default()
    };
    let first = SessionUp { header: Some(header), takes_leases: true, ..renewal(0, announced) };
    let mut sent = VecDeque::from([(0, Instant::now(), Moment::now())]);
    up.try_send(first).expect("the queue is new and empty");
    let silent = || Error::Unavailable("the MRC does not answer renewals".into());
    // Three renewals without an answer are enough to try another stream.
    let patience = mrc.renew_interval() * 3;
    let opening = tokio::time::timeout(patience, service.session(ReceiverStream::new(queued)));
    let opened = opening.await.map_err(|_| silent())?.map_err(|status| status_error(&status));
    let mut down = opened?.into_inner();
    let mut sequence = 0;
    let mut heard = Instant::now();
    let mut tick = interval(mrc.renew_interval());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let entered = Arc::new(Notify::new());
    loop {
        tokio::select! {
            // Others wait to hear of it.
            () = entered.notified() => tick.reset_immediately(),
            _ = tick.tick() => {
                if heard.elapsed() > patience {
                    return Err(silent());
                }
                if mrc.session() != session {
                    return Ok(());
                }
                sequence += 1;
                announced = recovered_term(mount);
                sent.push_back((sequence, Instant::now(), Moment::now()));
                // A full queue means that the MRC takes nothing; `patience` ends that.
                let _ = up.try_send(renewal(sequence, announced));
            }
            message = down.message() => {
                let message = message.map_err(|status| status_error(&status))?;
                let message = message.ok_or_else(|| Error::Unavailable("it ended".into()))?;
                (heard, *answered) = (Instant::now(), true);
                if !message.recalls.is_empty() {
                    carry_out(mount, &up, message.recalls);
                    continue;
                }
                let asked = sent.iter().find(|(sequence, ..)| *sequence == message.sequence);
                if let (Some((_, _, sent)), false) = (asked, message.lost) {
                    mrc.renewed(session, *sent);
                }
                let round_trip = asked.map(|(_, sent, _)| sent.elapsed());
                sent.retain(|(sequence, ..)| *sequence > message.sequence);
                take(mount, &entered, session, &message, round_trip).await?;
                if message.lost {
                    return Ok(());
                }
                // Others wait to know that nothing of ours is missing.
                if recovered_term(mount) != announced {
                    tick.reset_immediately();
                }
            }
        }
    }
}

/// Not waited for: renewals go on. There are no more of them than leases.
fn carry_out(mount: &Arc<Mount>, up: &mpsc::Sender<SessionUp>, recalls: Vec<Recall>) {
    // One by one: an inode may be waited for whose OSD is silent.
    for recall in recalls {
        let (kept, up) = (mount.clone(), up.clone());
        mount.tasks.spawn(async move {
            kept.carry_out(recall).await;
            // If the stream is gone it comes again on the next one.
            let answer = SessionUp { recalled: vec![recall], ..SessionUp::default() };
            let _ = up.send(answer).await;
        });
    }
}

/// The newest term of the MRC's log of which nothing older is missing there or relied on here.
fn recovered_term(mount: &Mount) -> u64 {
    let recovered = mount.mrc.recovered_term();
    let (_, leases_of) = mount.cache.has_entered();
    if leases_of == recovered { recovered } else { 0 }
}

async fn take(
    mount: &Arc<Mount>,
    entered: &Arc<Notify>,
    session: SessionId,
    message: &SessionDown,
    round_trip: Option<Duration>,
) -> Result<()> {
    let mrc = &mount.mrc;
    if message.lost {
        return mrc.renew_session(session, &mut Retry::new(REOPEN_TIMEOUT)).await;
    }
    mrc.observe(message.log.as_ref(), round_trip.unwrap_or(mrc.renew_interval()));
    let entered = entered.clone();
    let term = message.log.map_or(0, |log| log.term);
    mount.enter(session, term, move || entered.notify_one());
    mrc.recover(mrc.deadline()).await
}
