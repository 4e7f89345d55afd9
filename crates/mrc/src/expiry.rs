//! When sessions end for want of keep-alives, and when the grace period after a start is over.
//!
//! Counts on the monotonic clock of this process: a restarted MRC starts all clocks afresh.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xtfs_core::SessionId;

/// The giver waits ten percent longer than the holder: their clocks may run apart.
pub fn given(duration: Duration) -> Duration {
    duration + duration / 10
}

#[derive(Debug)]
pub struct Clocks {
    started: Instant,
    /// What sessions are told.
    expiry: Duration,
    renewed: Mutex<HashMap<SessionId, Instant>>,
    /// Sessions from before the start that may not have sent again yet what a power cut took.
    returning: Mutex<HashSet<SessionId>>,
}

impl Clocks {
    /// `sessions` are those that the replicated state knows at the start.
    pub fn new(
        expiry: Duration,
        now: Instant,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Self {
        let renewed: HashMap<_, _> = sessions.into_iter().map(|session| (session, now)).collect();
        Clocks {
            started: now,
            expiry,
            returning: Mutex::new(renewed.keys().copied().collect()),
            renewed: Mutex::new(renewed),
        }
    }

    /// A session ends so long after its last renewal was sent.
    pub fn expiry(&self) -> Duration {
        self.expiry
    }

    /// How often a session renews.
    pub fn renewal(&self) -> Duration {
        self.expiry / 4
    }

    /// All that the session had before the start is known again.
    pub fn recovered(&self, session: SessionId) {
        self.returning.lock().remove(&session);
    }

    /// Whether a session other than this one may have more than what is known. Ends for each when it has recovered, or
    /// with its expiry.
    pub fn awaits_others(&self, session: SessionId) -> bool {
        self.returning.lock().iter().any(|other| *other != session)
    }

    pub fn renew(&self, session: SessionId, now: Instant) {
        let mut renewed = self.renewed.lock();
        let at = renewed.entry(session).or_insert(now);
        *at = now.max(*at);
    }

    /// Renews a session that is there. `false`: it is not known any more.
    pub fn renew_known(&self, session: SessionId, now: Instant) -> bool {
        let mut renewed = self.renewed.lock();
        match renewed.get_mut(&session) {
            Some(at) => {
                *at = now.max(*at);
                true
            }
            None => false,
        }
    }

    pub fn knows(&self, session: SessionId) -> bool {
        self.renewed.lock().contains_key(&session)
    }

    pub fn forget(&self, session: SessionId) {
        self.renewed.lock().remove(&session);
        self.recovered(session);
    }

    /// Sessions whose time is over.
    pub fn expired(&self, now: Instant) -> Vec<SessionId> {
        let renewed = self.renewed.lock();
        let over = |at: Instant| now.saturating_duration_since(at) >= given(self.expiry);
        let mut expired: Vec<_> =
            renewed.iter().filter(|&(_, &at)| over(at)).map(|(&session, _)| session).collect();
        expired.sort();
        expired
    }

    /// Whether sessions from before the start may still come back.
    pub fn in_grace(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) < given(self.expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_session_expires_ten_percent_late() {
        let start = Instant::now();
        let clocks = Clocks::new(20 * S, start, []);
        clocks.renew(SessionId(1), start);
        clocks.renew(SessionId(2), start + 5 * S);
        assert_eq!(clocks.expired(start + 21 * S), []);
        assert_eq!(clocks.expired(start + 22 * S), [SessionId(1)]);
        clocks.forget(SessionId(1));
        assert_eq!(clocks.expired(start + 27 * S), [SessionId(2)]);
    }

    #[test]
    fn clocks_start_afresh_and_the_grace_period_ends() {
        let start = Instant::now();
        let clocks = Clocks::new(20 * S, start, [SessionId(3)]);
        assert!(clocks.in_grace(start + 21 * S));
        assert!(!clocks.in_grace(start + 22 * S));
        assert_eq!(clocks.expired(start + 22 * S), [SessionId(3)]);
    }

    #[test]
    fn sessions_from_before_the_start_are_awaited_until_they_recover_or_end() {
        let start = Instant::now();
        let clocks = Clocks::new(20 * S, start, [SessionId(3), SessionId(4)]);
        clocks.renew(SessionId(5), start);
        clocks.renew(SessionId(3), start);
        assert!(clocks.awaits_others(SessionId(3)) && clocks.awaits_others(SessionId(5)));
        clocks.recovered(SessionId(3));
        assert!(clocks.awaits_others(SessionId(5)) && !clocks.awaits_others(SessionId(4)));
        clocks.forget(SessionId(4));
        assert!(!clocks.awaits_others(SessionId(5)));
    }
}
