//! A client's session as it is stored.

use serde::{Deserialize, Serialize};
use xtfs_core::{ClientId, RequestNumber, SessionId, Timestamp, VolumeId};

/// Answers remembered for one session. At the bound the client is told to wait until it has confirmed
/// some; its own bound of unconfirmed requests is half of this.
pub const RESULTS_MAX: u64 = 8192;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub session: SessionId,
    pub client: ClientId,
    pub volume: VolumeId,
    pub description: String,
    pub opened: Timestamp,
    /// Results below are forgotten (P3).
    pub lowest_unanswered: RequestNumber,
    /// How many are remembered.
    pub results: u64,
}

/// How often a session holds an inode open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opens {
    /// Opens that cannot write.
    pub read: u32,
    pub write: u32,
}

/// Who may append to an inode, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendTurn {
    pub session: SessionId,
    /// The session's own number for it: what ends an older one does not end this.
    pub turn: u64,
}
