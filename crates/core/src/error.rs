//! The one error type that crosses crate borders.
//!
//! A variant exists because some caller acts on it: an application reads an errno, a client asks
//! again with newer rights. What nobody branches on is text.

use serde::{Deserialize, Serialize};

use crate::ids::{FileEpoch, SetEpoch};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    // Decided: the application gets this answer.
    #[error("no such file or directory")]
    NotFound,
    #[error("already exists")]
    Exists,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("directory not empty")]
    NotEmpty,
    /// A permission bit is missing: `EACCES`.
    #[error("permission denied")]
    AccessDenied,
    /// Only the owner or root may do this: `EPERM`.
    #[error("operation not permitted")]
    NotPermitted,
    #[error("no space left: {0}")]
    NoSpace(String),
    #[error("name longer than 255 bytes")]
    NameTooLong,
    #[error("too many links")]
    TooManyLinks,
    #[error("file too large")]
    FileTooLarge,
    #[error("not on the same volume")]
    CrossDevice,
    /// The inode behind a handle is gone.
    #[error("stale file handle")]
    StaleHandle,
    #[error("no such attribute")]
    NoAttribute,
    #[error("not supported: {0}")]
    NotSupported(String),
    #[error("read-only file system")]
    ReadOnly,
    #[error("invalid request: {0}")]
    Invalid(String),
    #[error("busy: {0}")]
    Busy(String),
    #[error("result does not fit")]
    Range,
    /// Somebody else's lock is in the way: `EAGAIN`.
    #[error("locked by another")]
    Locked,
    /// Whoever holds the lock waits for the asker: `EDEADLK`.
    #[error("waiting for the lock would never end")]
    Deadlock,
    /// `ENOLCK`.
    #[error("too many locks")]
    TooManyLocks,
    /// Of an extended attribute: `E2BIG`.
    #[error("value too long")]
    ValueTooLong,

    // Undecided: the client asks again, elsewhere, later or with newer rights.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A bounded queue is full; ask again after a pause.
    #[error("overloaded: {0}")]
    Overloaded(String),
    #[error("not the leader")]
    NotLeader { leader: Option<String> },
    #[error("the replica set has changed, it is at epoch {current}")]
    StaleSetEpoch { current: SetEpoch },
    #[error("the file has been fenced, it is at epoch {current}")]
    StaleFileEpoch { current: FileEpoch },
    #[error("the capability has expired")]
    CapabilityExpired,
    /// A newer connection of this client exists, or none was opened.
    #[error("the connection is not the client's newest")]
    StaleConnection,
    #[error("the session is not known any more")]
    SessionLost,
    #[error("deadline passed: {0}")]
    Deadline(String),
    /// The target has not been told of this replica set yet.
    #[error("unknown replica set")]
    UnknownSet,

    // Broken: an operator looks.
    /// A capability is forged, or for something else.
    #[error("capability refused: {0}")]
    Forbidden(String),
    #[error("wrong cluster: {0}")]
    WrongCluster(String),
    #[error("wrong protocol version: {0}")]
    WrongProtocol(String),
    #[error("corrupt data: {0}")]
    Corrupt(String),
    #[error("internal error: {0}")]
    Internal(String),
}

/// What a caller does with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The application gets it.
    Decided,
    /// May have another outcome elsewhere, later or with newer rights.
    Undecided,
    /// An operator looks.
    Broken,
}

impl Error {
    /// Whether it is an answer: what was asked for has not been done and will not be.
    pub fn is_decided(&self) -> bool {
        self.class() == ErrorClass::Decided
    }

    /// What the kernel is told once the client has stopped asking again.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NotFound => libc::ENOENT,
            Error::Exists => libc::EEXIST,
            Error::NotADirectory => libc::ENOTDIR,
            Error::IsADirectory => libc::EISDIR,
            Error::NotEmpty => libc::ENOTEMPTY,
            Error::AccessDenied => libc::EACCES,
            Error::NotPermitted => libc::EPERM,
            Error::NoSpace(_) => libc::ENOSPC,
            Error::NameTooLong => libc::ENAMETOOLONG,
            Error::TooManyLinks => libc::EMLINK,
            Error::FileTooLarge => libc::EFBIG,
            Error::CrossDevice => libc::EXDEV,
            Error::StaleHandle => libc::ESTALE,
            Error::NoAttribute => libc::ENODATA,
            Error::NotSupported(_) => libc::EOPNOTSUPP,
            Error::ReadOnly => libc::EROFS,
            Error::Invalid(_) => libc::EINVAL,
            Error::Busy(_) => libc::EBUSY,
            Error::Range => libc::ERANGE,
            Error::Locked => libc::EAGAIN,
            Error::Deadlock => libc::EDEADLK,
            Error::TooManyLocks => libc::ENOLCK,
            Error::ValueTooLong => libc::E2BIG,
            Error::Unavailable(_)
            | Error::Overloaded(_)
            | Error::NotLeader { .. }
            | Error::StaleSetEpoch { .. }
            | Error::StaleFileEpoch { .. }
            | Error::CapabilityExpired
            | Error::StaleConnection
            | Error::SessionLost
            | Error::Deadline(_)
            | Error::UnknownSet
            | Error::Forbidden(_)
            | Error::WrongCluster(_)
            | Error::WrongProtocol(_)
            | Error::Corrupt(_)
            | Error::Internal(_) => libc::EIO,
        }
    }

    pub fn class(&self) -> ErrorClass {
        match self {
            Error::NotFound
            | Error::Exists
            | Error::NotADirectory
            | Error::IsADirectory
            | Error::NotEmpty
            | Error::AccessDenied
            | Error::NotPermitted
            | Error::NoSpace(_)
            | Error::NameTooLong
            | Error::TooManyLinks
            | Error::FileTooLarge
            | Error::CrossDevice
            | Error::StaleHandle
            | Error::NoAttribute
            | Error::NotSupported(_)
            | Error::ReadOnly
            | Error::Invalid(_)
            | Error::Busy(_)
            | Error::Range
            | Error::Locked
            | Error::Deadlock
            | Error::TooManyLocks
            | Error::ValueTooLong => ErrorClass::Decided,
            Error::Unavailable(_)
            | Error::Overloaded(_)
            | Error::NotLeader { .. }
            | Error::StaleSetEpoch { .. }
            | Error::StaleFileEpoch { .. }
            | Error::CapabilityExpired
            | Error::StaleConnection
            | Error::SessionLost
            | Error::Deadline(_)
            | Error::UnknownSet => ErrorClass::Undecided,
            Error::Forbidden(_)
            | Error::WrongCluster(_)
            | Error::WrongProtocol(_)
            | Error::Corrupt(_)
            | Error::Internal(_) => ErrorClass::Broken,
        }
    }

    /// Whether the request may have another outcome elsewhere or later.
    pub fn is_retryable(&self) -> bool {
        self.class() == ErrorClass::Undecided
    }
}
