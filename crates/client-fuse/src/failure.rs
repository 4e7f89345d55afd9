//! Why a mount or unmount did not happen, with the exit codes of mount(8).

use std::fmt;

/// What mount(8) makes of a helper's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Wrong call, or no permission.
    Usage = 1,
    /// The system refused something: no memory, no /dev/fuse.
    System = 2,
    Interrupted = 8,
    MountFailure = 32,
}

/// Cause and next step, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ExitKind,
    pub cause: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    pub fn new(kind: ExitKind, cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { kind, cause: cause.into(), hint: hint.into() }
    }

    pub fn usage(cause: impl Into<String>) -> Self {
        Failure::new(ExitKind::Usage, cause, "see --help")
    }

    pub(crate) fn mount(cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::new(ExitKind::MountFailure, cause, hint)
    }

    pub(crate) fn system(cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::new(ExitKind::System, cause, hint)
    }

    pub fn exit_code(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.hint)
    }
}
