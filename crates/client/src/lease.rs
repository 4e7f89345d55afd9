//! How long the session lasts for sure. After that the MRC may have given away what it held.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, Result, SessionId};

/// Time since the boot of this host. It goes on while the host sleeps, as the MRC's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

#[derive(Debug)]
pub(crate) struct Lease {
    /// Session, and until when.
    until: watch::Sender<(SessionId, Moment)>,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // Neither is ever negative on this clock.
        let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
        Moment(seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs()))
    }
}

impl Default for Lease {
    fn default() -> Self {
        let none = (SessionId(0), Moment(Duration::ZERO));
        Lease { until: watch::Sender::new(none) }
    }
}

impl Lease {
    /// A renewal that was sent at `sent` was answered.
    pub(crate) fn renewed(&self, session: SessionId, sent: Moment, expiry: Duration) {
        let until = Moment(sent.0 + expiry);
        self.until.send_modify(|held| {
            if held.0 != session || held.1 < until {
                *held = (session, until);
            }
        });
    }

    pub(crate) fn holds(&self, session: SessionId) -> bool {
        let held = *self.until.borrow();
        held.0 == session && Moment::now() < held.1
    }

    /// How much longer the session lasts for sure.
    pub(crate) fn left(&self, session: SessionId) -> Duration {
        let held = *self.until.borrow();
        if held.0 == session { held.1.0.saturating_sub(Moment::now().0) } else { Duration::ZERO }
    }

    /// Returns when it is known that the session is still there.
    pub(crate) async fn wait(&self, session: SessionId, deadline: Instant) -> Result<()> {
        if self.holds(session) {
            return Ok(());
        }
        let mut held = self.until.subscribe();
        let renewed = held.wait_for(|held| held.0 != session || Moment::now() < held.1);
        match timeout_at(deadline, renewed).await {
            Ok(Ok(held)) if held.0 == session => Ok(()),
            Ok(_) => Err(Error::SessionLost),
            Err(_) => Err(Error::Deadline("the MRC does not renew the session".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_sending_of_the_renewal_and_a_wait_ends_with_it() {
        let lease = Lease::default();
        let (old, new) = (SessionId(1), SessionId(2));
        let sent = Moment::now();
        let before = Moment(sent.0.saturating_sub(MINUTE));
        lease.renewed(old, before, sent.0 - before.0);
        assert!(!lease.holds(old), "it is over");
        let soon = || Instant::now() + MINUTE;
        assert!(matches!(lease.wait(old, soon()).await, Err(Error::Deadline(_))));
        let renew = async { lease.renewed(old, Moment::now(), MINUTE) };
        let (waited, ()) = tokio::join!(lease.wait(old, soon()), renew);
        waited.unwrap();
        lease.renewed(old, before, MINUTE);
        assert!(lease.holds(old), "an answer that was overtaken ends nothing");
        lease.renewed(new, before, MINUTE);
        assert!(!lease.holds(old));
        assert_eq!(lease.wait(old, soon()).await, Err(Error::SessionLost));
    }
}
