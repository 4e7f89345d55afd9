//! Locks: taken and given back at once, asked for, waited for.

use std::sync::Arc;
use std::time::Duration;

use xtfs_core::{Error, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::command::Lock;
use crate::state::{Action, HeldLock, LockKind, LockOwner, LockRange};

/// Longest wait that is answered with nothing new. It also bounds the harm of a change that nobody was told of.
const WAIT_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn lock(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LockRequest,
) -> Result<v1::LockReply> {
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let kind = match request.kind() {
        v1::LockKind::Unlock => None,
        kind => Some(encode::lock_kind_from(kind)?),
    };
    let range = LockRange::new(request.start, request.end)?;
    if kind.is_some() {
        admit(&mrc, &call, &request).await?;
    }
    let v1::LockRequest { owner, pid, process, .. } = request;
    let lost = request.attempt() == v1::LockAttempt::Lost;
    let lock = Lock { ino, owner, kind, range, pid, process, lost };
    let (_, log) = mrc.change(&call, volume, Action::Lock(lock)).await?;
    // One that was exclusive before may be shared now.
    if kind != Some(LockKind::Exclusive) {
        mrc.locks_changed(volume, ino);
    }
    Ok(v1::LockReply { log: Some(log), ino: ino.0 })
}

/// Refusals that need no entry in the log.
///
/// A grant is lazy, so a power cut may take it while its holder goes on. Until all sessions from before the start have
/// sent again what they lost, nobody gets a lock that may be one of those; what was granted before finds its way back.
async fn admit(mrc: &Mrc, call: &Call, request: &v1::LockRequest) -> Result<()> {
    let file = (VolumeId(request.volume), Ino(request.ino));
    let wanted = wanted(call, request)?;
    let awaited = mrc.clocks.awaits_others(call.header.session);
    let wait = || Err(Error::Unavailable("the MRC has restarted; others may have locks".into()));
    match request.attempt() {
        v1::LockAttempt::Lost => {
            // An unlock of another's is on its way still. The log would remember the refusal for good.
            let is_held = mrc.locks(file.0, file.1)?.conflicts(&wanted).next().is_some();
            if awaited && is_held { wait() } else { Ok(()) }
        }
        _ if awaited => wait(),
        // An earlier attempt may be on its way still: the log settles both with one answer.
        v1::LockAttempt::Repeated => Ok(()),
        v1::LockAttempt::First => {
            if !mrc.is_lock_free(file, &wanted)? {
                // So that it is not an old state that refuses.
                mrc.barrier(call).await?;
                if !mrc.is_lock_free(file, &wanted)? {
                    return Err(Error::Locked);
                }
            }
            Ok(())
        }
    }
}

pub(crate) async fn test_lock(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LockRequest,
) -> Result<v1::TestLockReply> {
    let wanted = wanted(&call, &request)?;
    let log = mrc.barrier(&call).await?;
    let table = mrc.locks(VolumeId(request.volume), Ino(request.ino))?;
    let conflict = table.conflicts(&wanted).next().map(|held| v1::HeldLock {
        kind: encode::lock_kind(held.kind).into(),
        start: held.range.start(),
        end: held.range.end(),
        pid: held.pid,
        elsewhere: held.owner.session != wanted.owner.session,
    });
    Ok(v1::TestLockReply { log: Some(log), conflict })
}

/// Changes nothing, so that a client that hears no answer, or does not want it any more, has nothing to undo.
pub(crate) async fn wait_lock(
    mrc: Arc<Mrc>,
    call: Call,
    request: v1::LockRequest,
) -> Result<v1::WaitLockReply> {
    let wanted = wanted(&call, &request)?;
    let (volume, ino) = (VolumeId(request.volume), Ino(request.ino));
    let log = mrc.barrier(&call).await?;
    let ticket = match request.ticket {
        0 => u64::try_from(mrc.time.now().0).unwrap_or(1),
        ticket => ticket,
    };
    let file = (volume, ino);
    let locks = |volume, ino| mrc.locks(volume, ino);
    let mut reply = v1::WaitLockReply { log: Some(log), ticket, ..Default::default() };
    let Some(wait) = mrc.waiters.enter(file, wanted, ticket, locks)? else {
        return Ok(v1::WaitLockReply {
            full: true,
            free: mrc.is_lock_free(file, &wanted)?,
            ..reply
        });
    };
    let limit = tokio::time::sleep(WAIT_MAX.min(call.left() / 2));
    tokio::pin!(limit);
    let mut late = false;
    // What changes from here on is told.
    loop {
        reply.free = mrc.is_lock_free(file, &wanted)?;
        if reply.free || late {
            return Ok(reply);
        }
        tokio::select! {
            () = wait.told() => {}
            () = &mut limit => late = true,
            () = mrc.stop.cancelled() => {
                return Err(Error::Unavailable("the MRC stops".into()));
            }
        }
    }
}

fn wanted(call: &Call, request: &v1::LockRequest) -> Result<HeldLock> {
    Ok(HeldLock {
        owner: LockOwner { session: call.header.session, owner: request.owner },
        kind: encode::lock_kind_from(request.kind())?,
        range: LockRange::new(request.start, request.end)?,
        pid: request.pid,
        process: request.process,
    })
}
