//! Why a program cannot go on: the cause, and what to do about it, for people.

use std::fmt;

use xtfs_core::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    cause: String,
    next: String,
}

impl Failure {
    /// `next` is the next step of whoever reads it; empty if nobody knows one.
    pub fn new(cause: impl Into<String>, next: impl Into<String>) -> Self {
        Failure { cause: cause.into(), next: next.into() }
    }
}

/// One line, whatever is in the texts.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        f.write_str(&line(&self.cause))?;
        if !self.next.is_empty() {
            write!(f, "; {}", line(&self.next))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        // The texts of most variants carry their next step themselves.
        Failure::new(err.to_string(), "")
    }
}
