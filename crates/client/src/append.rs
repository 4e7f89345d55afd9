//! Appending: the end of the file is found and written to while no other client does the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, timeout_at};
use xtfs_core::{Error, FileEpoch, Result};
use xtfs_proto::v1;

use crate::attributes::required;
use crate::file::OpenFile;
use crate::file_state::{Begun, FileState, Turn};
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

/// A turn goes on this long after an append, for the next one; waiting mounts have theirs after that.
const LINGER: Duration = Duration::from_millis(2);
/// A turn that is used all the time ends after that.
const TURN_MAX: Duration = Duration::from_millis(500);
/// A file that is cut again and again under an append makes it find the end anew; so often.
const TRIES_MAX: u32 = 16;

/// The turn of one append; what becomes of it is decided in the background when this is dropped, also if the append is
/// given up.
struct InTurn<'a> {
    mount: &'a Arc<Mount>,
    state: &'a Arc<FileState>,
    /// Always there, until the drop.
    turn: Option<OwnedMutexGuard<Turn>>,
    /// A write of it may still be on its way.
    undecided: bool,
}

impl InTurn<'_> {
    fn turn(&mut self) -> &mut Turn {
        self.turn.as_mut().expect("there until the drop")
    }
}

impl Drop for InTurn<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let Some(begun) = &turn.begun else { return };
        let (mount, state) = (self.mount.clone(), self.state.clone());
        let undecided = self.undecided;
        let over = undecided || begun.at.elapsed() >= TURN_MAX;
        let uses = turn.uses;
        self.mount.closing.spawn_on(
            async move {
                if over {
                    return end(&mount, &state, turn, undecided).await;
                }
                drop(turn);
                sleep(LINGER).await;
                let turn = state.appending.clone().lock_owned().await;
                // Whoever has used it since looks after it.
                if turn.uses == uses {
                    end(&mount, &state, turn, false).await;
                }
            },
            &self.mount.runtime,
        );
    }
}

/// Gives the turn back. The guard is held until the MRC has it, so that no append and no close of ours overtakes it.
async fn end(mount: &Mount, state: &FileState, mut turn: OwnedMutexGuard<Turn>, undecided: bool) {
    let Some(begun) = turn.begun.take() else { return };
    let request = v1::EndAppendRequest {
        header: None,
        volume: mount.mrc.volume.0,
        ino: state.ino.0,
        turn: begun.number,
        report: state.report.lock().to_wire(),
        undecided,
    };
    mount.mrc.give_back::<method::EndAppend>(state.session, request, turn).await;
}

impl OpenFile {
    /// Writes at the end of the file, whatever the flags; returns where.
    pub async fn append(&self, data: Bytes) -> Result<u64> {
        self.locks_hold().await?;
        self.flush_kept().await?;
        let (mount, state) = (self.mount(), self.state());
        let deadline = mount.deadline();
        let turn = timeout_at(deadline, state.appending.clone().lock_owned())
            .await
            .map_err(|_| Error::Deadline("another append".into()))?;
        let mut turn = InTurn { mount, state, turn: Some(turn), undecided: false };
        let mut begun_at = None;
        for _ in 0..TRIES_MAX {
            // As it was before the size is told: if the file is cut after that, the write is refused.
            let rights = mount.rights(state, true, deadline).await?.ok_or(Error::StaleHandle)?;
            let epoch = rights.grant.file_epoch;
            let told = mount.end_in_turn(state, turn.turn(), epoch, deadline).await?;
            // What was written behind the first end in this turn are parts of this very append.
            let end = match begun_at {
                Some(first) if first <= told && told - first <= data.len() as u64 => first,
                _ => told,
            };
            begun_at = Some(end);
            turn.undecided = true;
            match self.write_under(end, data.clone(), Some(epoch)).await {
                Ok(()) => {
                    turn.undecided = false;
                    return Ok(end);
                }
                // Parts that are still on their way are refused as well, or are what is written now.
                Err(Error::StaleFileEpoch { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Err(Error::Unavailable("the file was cut again and again".into()))
    }
}

impl Mount {
    /// Gets the turn, if it is not held, and the end of the file.
    async fn end_in_turn(
        &self,
        file: &FileState,
        turn: &mut Turn,
        epoch: FileEpoch,
        deadline: Instant,
    ) -> Result<u64> {
        turn.uses += 1;
        // An OSD that has lost what is not synced gets it again; until then the size may be less.
        let end = |size: u64| size.max(file.report.lock().end_under(epoch));
        if let Some(Begun { term: Some(term), .. }) = turn.begun {
            let size = self.size(file, deadline).await?;
            // In a restart of the MRC the turn may have been lost.
            if term == self.mrc.term() {
                return Ok(end(size));
            }
        }
        let number = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        // Whatever comes of the request, it is to be ended.
        turn.begun = Some(Begun { number, at: Instant::now(), term: None });
        let request = v1::BeginAppendRequest {
            header: None,
            volume: self.mrc.volume.0,
            ino: file.ino.0,
            report: file.report.lock().to_wire(),
            turn: number,
        };
        let reply =
            self.mrc.change_until::<method::BeginAppend>(&ITSELF, request, deadline).await?;
        let term = reply.log.as_ref().map(|log| log.term);
        turn.begun = Some(Begun { number, at: Instant::now(), term });
        Ok(end(required(reply.attributes)?.size))
    }
}
