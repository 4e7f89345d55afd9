//! The one rule of what is asked again, when, and when no more.
//!
//! A retry is harmless: a mutating request carries a number under which its answer is remembered,
//! and what goes to an OSD is sent again only after a new hello.

use std::time::Duration;

use tokio::time::Instant;
use xtfs_core::{Error, ErrorClass, Result};

/// First pause; it doubles up to `PAUSE_MAX`, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is done before the request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A pause alone.
    Wait,
    /// Rights and layout from the MRC.
    Renew,
    /// A new connection with a new generation.
    Reconnect,
    /// Another server of the group.
    Elsewhere,
}

/// One operation over all its attempts.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    attempts: u32,
}

impl Retry {
    pub(crate) fn new(timeo: Duration) -> Self {
        Retry::until(Instant::now() + timeo)
    }

    pub(crate) fn until(deadline: Instant) -> Self {
        Retry { deadline, attempts: 0 }
    }

    /// Time left, zero past the deadline.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns what to do before the next attempt, after the pause; or the error for the
    /// application. `whom` names service and address.
    pub(crate) async fn after(
        &mut self,
        err: Error,
        whom: impl FnOnce() -> String,
    ) -> Result<Remedy> {
        let remedy = remedy(&err).ok_or_else(|| err.clone())?;
        let pause = pause(self.attempts, rand::random());
        self.attempts += 1;
        // New rights or a new connection help at once, unless they did not the last time.
        let pause =
            if self.attempts == 1 && helps_at_once(remedy) { Duration::ZERO } else { pause };
        if Instant::now() + pause >= self.deadline {
            let cause = match err {
                Error::Deadline(text) | Error::Unavailable(text) => text,
                other => other.to_string(),
            };
            return Err(Error::Deadline(format!("{}: {cause}", whom())));
        }
        tracing::debug!(%err, ?remedy, attempts = self.attempts, "asking again");
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(remedy)
    }
}

/// `None`: the answer stands.
fn remedy(err: &Error) -> Option<Remedy> {
    match err.class() {
        ErrorClass::Decided | ErrorClass::Broken => return None,
        ErrorClass::Undecided => {}
    }
    match err {
        // Never tried again under another session.
        Error::SessionLost => None,
        Error::StaleSetEpoch { .. }
        | Error::StaleFileEpoch { .. }
        | Error::CapabilityExpired
        | Error::UnknownSet => Some(Remedy::Renew),
        Error::StaleConnection => Some(Remedy::Reconnect),
        Error::NotLeader { .. } => Some(Remedy::Elsewhere),
        _ => Some(Remedy::Wait),
    }
}

fn helps_at_once(remedy: Remedy) -> bool {
    match remedy {
        Remedy::Renew | Remedy::Reconnect | Remedy::Elsewhere => true,
        Remedy::Wait => false,
    }
}

/// Between half and all of a doubling pause, so that clients do not come back in step.
pub(crate) fn pause(attempts: u32, random: u32) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << attempts.min(16)).min(PAUSE_MAX);
    full / 2 + full.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::FileEpoch;

    #[test]
    fn what_is_decided_or_broken_is_not_asked_again() {
        for err in [Error::NotFound, Error::NoSpace(String::new()), Error::SessionLost] {
            assert_eq!(remedy(&err), None, "{err}");
        }
        for err in [Error::Corrupt(String::new()), Error::Forbidden(String::new())] {
            assert_eq!(remedy(&err), None, "{err}");
        }
    }

    #[test]
    fn each_undecided_answer_has_its_remedy() {
        #[track_caller]
        fn check(err: Error, expected: Remedy) {
            assert_eq!(remedy(&err), Some(expected), "{err}");
        }
        check(Error::Unavailable(String::new()), Remedy::Wait);
        check(Error::Overloaded(String::new()), Remedy::Wait);
        check(Error::Deadline(String::new()), Remedy::Wait);
        check(Error::StaleFileEpoch { current: FileEpoch(1) }, Remedy::Renew);
        check(Error::CapabilityExpired, Remedy::Renew);
        check(Error::UnknownSet, Remedy::Renew);
        check(Error::StaleConnection, Remedy::Reconnect);
        check(Error::NotLeader { leader: None }, Remedy::Elsewhere);
    }

    #[test]
    fn pauses_grow_up_to_their_bound() {
        assert_eq!(pause(0, 0), PAUSE_MIN / 2);
        assert_eq!(pause(0, u32::MAX), PAUSE_MIN);
        assert_eq!(pause(40, u32::MAX), PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_ends_at_its_deadline_and_says_whom_it_waited_for() {
        let start = Instant::now();
        let mut retry = Retry::new(Duration::from_secs(30));
        let err = loop {
            let err = Error::Unavailable("connection refused".into());
            match retry.after(err, || "OSD x at a:1".into()).await {
                Ok(remedy) => assert_eq!(remedy, Remedy::Wait),
                Err(err) => break err,
            }
        };
        assert_eq!(err, Error::Deadline("OSD x at a:1: connection refused".into()));
        assert!(start.elapsed() <= Duration::from_secs(30));
    }
}
