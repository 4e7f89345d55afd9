//! The state on the replicated log.

use xtfs_core::Result;
use xtfs_kv::Transaction;
use xtfs_replog::StateMachine;

use crate::state::{Command, MrcState, Reply};

impl StateMachine for MrcState {
    type Command = Command;
    type Reply = Reply;

    fn apply(&self, command: Command, tx: &mut Transaction<'_>) -> Result<Reply> {
        MrcState::apply(self, command, tx)
    }

    fn frees_space(&self, command: &Command) -> bool {
        command.frees_space()
    }
}
