//! Packs waiting commands into entries: one write, and one sync, serve all that came meanwhile.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, Fatal, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use xtfs_core::{Error, Result};

use crate::log::Shared;
use crate::space::Space;
use crate::types::{Commands, Raft, Replies};

/// Commands that wait to be packed. At the bound `propose` waits.
pub const COMMANDS_QUEUED_MAX: usize = 4096;
/// Commands in an entry; the rest waits for the next one.
pub const ENTRY_COMMANDS_MAX: usize = 1024;
/// Bytes of an entry's commands, exceeded only by a single command.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bytes of an encoded command. A larger one is refused.
pub const COMMAND_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) command: Vec<u8>,
    pub(crate) frees_space: bool,
    pub(crate) answer: oneshot::Sender<Result<Answer>>,
}

/// An encoded reply with the index of the entry that held its command.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Vec<u8>,
    pub(crate) index: u64,
}

/// Takes proposals until `stop`; what waits then is not answered.
pub(crate) async fn commit(
    shared: Arc<Shared>,
    raft: Raft,
    space: Space,
    mut proposals: mpsc::Receiver<Proposal>,
    stop: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            first = proposals.recv() => first,
        };
        let Some(first) = first else { return };
        let admitted = gather(first, &mut proposals, &space);
        if admitted.is_empty() {
            continue;
        }
        let commands = Commands::pack(admitted.iter().map(|one| one.command.as_slice()));
        let written = tokio::select! {
            () = stop.cancelled() => return,
            written = write(&shared, &raft, commands) => written,
        };
        answer(admitted, written);
    }
}

/// What waits and is admitted, up to the bounds of an entry.
fn gather(
    first: Proposal,
    proposals: &mut mpsc::Receiver<Proposal>,
    space: &Space,
) -> Vec<Proposal> {
    let mut admitted = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    // Asked once for each kind: free space changes little within an entry.
    let mut verdicts: [Option<Result<()>>; 2] = [None, None];
    while let Some(proposal) = next {
        let frees = proposal.frees_space;
        let verdict = verdicts[usize::from(frees)].get_or_insert_with(|| space.admit(frees));
        match verdict.clone() {
            // Who does not wait any more gets no answer and his command no entry.
            Ok(()) if proposal.answer.is_closed() => {}
            Ok(()) => {
                bytes += proposal.command.len();
                admitted.push(proposal);
            }
            Err(err) => drop(proposal.answer.send(Err(err))),
        }
        let room = admitted.len() < ENTRY_COMMANDS_MAX && bytes < ENTRY_BYTES_MAX;
        next = if room { proposals.try_recv().ok() } else { None };
    }
    admitted
}

async fn write(shared: &Shared, raft: &Raft, commands: Commands) -> Result<(u64, Replies)> {
    shared.progress.check()?;
    match raft.client_write(commands).await {
        Ok(written) => Ok((written.log_id.index, written.data)),
        Err(RaftError::Fatal(fatal)) => Err(stopped(shared, &fatal)),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(Error::NotLeader { leader: to.leader_node.map(|node| node.addr) })
        }
        Err(RaftError::APIError(err @ ClientWriteError::ChangeMembershipError(_))) => {
            Err(Error::Internal(err.to_string()))
        }
    }
}

/// The fault that made openraft stop, if it was ours.
pub(crate) fn stopped(shared: &Shared, fatal: &Fatal<u64>) -> Error {
    match shared.progress.check() {
        Err(fault) => fault,
        Ok(()) => Error::Unavailable(format!("the log does not run: {fatal}")),
    }
}

fn answer(proposals: Vec<Proposal>, written: Result<(u64, Replies)>) {
    // Who does not wait any more is no error, so the results of `send` are dropped.
    match written {
        Ok((index, replies)) => {
            for (proposal, reply) in proposals.into_iter().zip(replies.0) {
                drop(proposal.answer.send(Ok(Answer { reply, index })));
            }
        }
        Err(err) => {
            for proposal in proposals {
                drop(proposal.answer.send(Err(err.clone())));
            }
        }
    }
}

/// Syncs the log when somebody waits for it, and at least once in `interval`. Who comes during a
/// sync shares the next one; nobody else waits for any.
pub(crate) async fn sync(shared: Arc<Shared>, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.progress.sync_wanted.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
        let appended = shared.progress.appended();
        if shared.progress.check().is_err() || appended <= shared.progress.durable() {
            continue;
        }
        match shared.blocking(|shared| shared.store.sync()).await {
            Ok(()) => shared.progress.make_durable(appended),
            // After a failed sync nobody knows what is on disk, and a second one would lie.
            Err(err) => shared.progress.fail(err),
        }
    }
}
