//! Appending: the end of the file is found and written to while no other client does the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, Result};
use xtfs_proto::v1;

use crate::attributes::required;
use crate::file::OpenFile;
use crate::file_state::{FileState, Turn};
use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

/// Appends of this mount in one turn, while others of it wait; then other mounts have theirs.
const TURN_USES_MAX: u32 = 64;
/// A file that is cut again and again under an append makes it find the end anew; so often.
const TRIES_MAX: u32 = 16;

/// Counts an append for as long as it lives.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the turn in the background when nobody here waits for it, or it was used often; also if the append is given up.
struct InTurn<'a> {
    mount: &'a Arc<Mount>,
    state: &'a Arc<FileState>,
    turn: tokio::sync::MutexGuard<'a, Turn>,
}

impl Drop for InTurn<'_> {
    fn drop(&mut self) {
        let waiting = self.state.appends.load(Ordering::Relaxed) > 1;
        if waiting && self.turn.uses < TURN_USES_MAX {
            return;
        }
        self.turn.uses = 0;
        let Some(turn) = self.turn.held.take() else { return };
        let (mount, ino) = (self.mount.clone(), self.state.ino);
        let request =
            v1::EndAppendRequest { header: None, volume: mount.mrc.volume.0, ino: ino.0, turn };
        self.mount.closing.spawn_on(
            async move {
                let ended = mount.mrc.change::<method::EndAppend>(&ITSELF, request);
                if let Err(err) = ended.await {
                    tracing::warn!(%ino, %err, "end a turn to append at the MRC");
                }
            },
            &self.mount.runtime,
        );
    }
}

impl OpenFile {
    /// Writes at the end of the file, whatever the flags; returns where.
    pub async fn append(&self, data: Bytes) -> Result<u64> {
        self.check_locks()?;
        let (mount, state) = (self.mount(), self.state());
        let deadline = mount.deadline();
        let _counted = Counted::new(&state.appends);
        let turn = timeout_at(deadline, state.appending.lock())
            .await
            .map_err(|_| Error::Deadline("another append".into()))?;
        let mut turn = InTurn { mount, state, turn };
        for _ in 0..TRIES_MAX {
            // As it was before the size is told: if the file is cut after that, the write is refused.
            let rights = mount.rights(state, true, deadline).await?.ok_or(Error::StaleHandle)?;
            let epoch = rights.grant.file_epoch;
            let end = mount.end_in_turn(state, &mut turn.turn, deadline).await?;
            match self.write_under(end, data.clone(), Some(epoch)).await {
                Ok(()) => return Ok(end),
                Err(Error::StaleFileEpoch { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Err(Error::Unavailable("the file was cut again and again".into()))
    }
}

impl Mount {
    /// Gets the turn, if it is not held, and the size of the file.
    async fn end_in_turn(
        &self,
        file: &FileState,
        turn: &mut Turn,
        deadline: Instant,
    ) -> Result<u64> {
        turn.uses += 1;
        if turn.held.is_some() {
            return self.size(file, deadline).await;
        }
        let number = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        // Whatever comes of the request, it is to be ended.
        turn.held = Some(number);
        let request = v1::BeginAppendRequest {
            header: None,
            volume: self.mrc.volume.0,
            ino: file.ino.0,
            report: file.report.lock().to_wire(),
            turn: number,
        };
        let begun = self.mrc.change_until::<method::BeginAppend>(&ITSELF, request, deadline).await;
        match begun {
            Ok(reply) => Ok(required(reply.attributes)?.size),
            Err(err) => {
                // Nobody may go on in a turn that was perhaps not given: the drop ends it.
                turn.uses = TURN_USES_MAX;
                Err(err)
            }
        }
    }
}
