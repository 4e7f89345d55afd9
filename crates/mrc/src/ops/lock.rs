//! Locks: taken and given back at once, asked for, waited for.

use std::sync::Arc;
use std::time::Duration;

use xtfs_core::{Error, Ino, Result, VolumeId};
use xtfs_proto::v1;

use crate::encode;
use crate::mrc::Mrc;
use crate::service::Call;
use crate::state::command::Lock;
use crate::state::{Action, HeldLock, LockOwner, LockRange};

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
    let lock = Lock { ino, owner: request.owner, kind, range, pid: request.pid };
    let changed = mrc.change(&call, volume, Action::Lock(lock)).await;
    // Also a lock that was taken gives something back if it was exclusive before.
    mrc.locks_changed(volume, ino);
    let (_, log) = changed?;
    Ok(v1::LockReply { log: Some(log), ino: ino.0 })
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
    let locks = |volume, ino| mrc.locks(volume, ino);
    let wait = mrc.waiters.enter((volume, ino), wanted, ticket, locks)?;
    // What changes from here on is told.
    if mrc.locks(volume, ino)?.conflicts(&wanted).next().is_some() {
        let limit = WAIT_MAX.min(call.left() / 2);
        tokio::select! {
            () = wait.told() => {}
            () = tokio::time::sleep(limit) => {}
            () = mrc.stop.cancelled() => {
                return Err(Error::Unavailable("the MRC stops".into()));
            }
        }
    }
    Ok(v1::WaitLockReply { log: Some(log), ticket })
}

fn wanted(call: &Call, request: &v1::LockRequest) -> Result<HeldLock> {
    Ok(HeldLock {
        owner: LockOwner { session: call.header.session, owner: request.owner },
        kind: encode::lock_kind_from(request.kind())?,
        range: LockRange::new(request.start, request.end)?,
        pid: request.pid,
    })
}
