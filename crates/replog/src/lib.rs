//! A replicated state machine: commands in a log that openraft keeps over `kv`, applied in order.
//!
//! See `docs/design/replog.md` for what survives what, and why.

mod commit;
mod directory;
mod log;
mod machine;
mod network;
mod progress;
mod replog;
mod snapshot;
mod space;
mod store;
#[cfg(test)]
mod suite;
mod types;

pub use commit::{COMMAND_BYTES_MAX, COMMANDS_QUEUED_MAX, ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX};
pub use machine::StateMachine;
pub use network::NoNetwork;
pub use replog::{Birth, Config, Durability, LogStatus, Receipt, Replog};
pub use snapshot::StateFiles;
pub use types::{Commands, Raft, Replies, Types};
