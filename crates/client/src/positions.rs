//! What a session has asked, what was answered, and what of it is on disk: rules P1 to P3 of
//! `docs/design/data-protocol.md`. Pure; `mrc.rs` does the sending.

use std::collections::{BTreeMap, BTreeSet};

use xtfs_core::RequestNumber;
use xtfs_proto::v1::LogStatus;

/// Most answered requests that are kept because they may still be lost. At the bound the MRC is
/// asked to sync first.
pub(crate) const UNDURABLE_MAX: usize = 4096;

/// `K` is what it takes to send a request again.
#[derive(Debug)]
pub(crate) struct Positions<K> {
    /// The newest term seen, and where it starts.
    term: u64,
    term_start: u64,
    next: u64,
    in_flight: BTreeSet<u64>,
    kept: BTreeMap<u64, Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    term: u64,
    index: u64,
    /// A later term has forgotten it, as far as we know.
    lost: bool,
    request: K,
}

impl<K> Default for Positions<K> {
    fn default() -> Self {
        Positions {
            term: 0,
            term_start: 0,
            next: 1,
            in_flight: BTreeSet::new(),
            kept: BTreeMap::new(),
        }
    }
}

impl<K: Clone> Positions<K> {
    /// The newest that was seen.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// The number of a new request.
    pub(crate) fn begin(&mut self) -> RequestNumber {
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number);
        RequestNumber(number)
    }

    /// If it is not answered, the request was refused or is given up: it is not sent again.
    pub(crate) fn give_up(&mut self, number: RequestNumber) {
        self.in_flight.remove(&number.0);
    }

    /// The request was answered and lost, and is refused now.
    pub(crate) fn forget(&mut self, number: RequestNumber) {
        self.kept.remove(&number.0);
    }

    /// The request was carried out. It is kept until it is durable.
    pub(crate) fn answered(&mut self, number: RequestNumber, log: &LogStatus, request: K) {
        self.in_flight.remove(&number.0);
        let kept = Kept { term: log.term, index: log.index, lost: false, request };
        self.kept.insert(number.0, kept);
        self.observe(log);
    }

    /// Takes in how far the log is.
    pub(crate) fn observe(&mut self, log: &LogStatus) {
        if log.term > self.term {
            (self.term, self.term_start) = (log.term, log.term_start);
        }
        let (term, term_start) = (self.term, self.term_start);
        self.kept.retain(|_, kept| {
            if kept.term == term {
                return log.term != term || kept.index > log.durable;
            }
            // What follows a term directly says where that one ended. Over a term that we did not
            // see nothing is known, and sending again is harmless.
            if kept.term + 1 == term && kept.index < term_start {
                return false;
            }
            kept.lost = true;
            true
        });
    }

    /// What a new term has lost, in the order in which it was carried out.
    pub(crate) fn lost(&self) -> Vec<(RequestNumber, K)> {
        let mut lost: Vec<_> = self.kept.iter().filter(|(_, kept)| kept.lost).collect();
        lost.sort_by_key(|(number, kept)| (kept.term, kept.index, **number));
        lost.into_iter()
            .map(|(number, kept)| (RequestNumber(*number), kept.request.clone()))
            .collect()
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.kept.values().any(|kept| kept.lost)
    }

    /// The newest term seen, unless it has lost something that is not sent again yet.
    pub(crate) fn recovered_term(&self) -> u64 {
        if self.has_lost() { 0 } else { self.term }
    }

    /// All below is answered and durable.
    pub(crate) fn lowest_unanswered(&self) -> RequestNumber {
        let in_flight = self.in_flight.first().copied();
        let kept = self.kept.first_key_value().map(|(number, _)| *number);
        let lowest = in_flight.into_iter().chain(kept).min();
        RequestNumber(lowest.unwrap_or(self.next))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= UNDURABLE_MAX
    }

    /// Whether everything that was answered is on disk.
    pub(crate) fn all_durable(&self) -> bool {
        self.kept.is_empty()
    }

    /// The session is gone. Says how many requests may have gone with it.
    pub(crate) fn reset(&mut self) -> usize {
        let lost = self.kept.len();
        *self = Positions { term: self.term, term_start: self.term_start, ..Positions::default() };
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(term: u64, term_start: u64, index: u64, durable: u64) -> LogStatus {
        LogStatus { term, term_start, index, durable, now_ns: 0 }
    }

    fn lost(positions: &Positions<&'static str>) -> Vec<(u64, &'static str)> {
        positions.lost().into_iter().map(|(number, request)| (number.0, request)).collect()
    }

    #[test]
    fn p3_the_lowest_number_is_not_both_answered_and_durable() {
        let mut positions = Positions::default();
        assert_eq!(positions.lowest_unanswered().0, 1);
        let (a, b, c) = (positions.begin(), positions.begin(), positions.begin());
        assert_eq!((a.0, b.0, c.0), (1, 2, 3));
        positions.answered(b, &log(1, 0, 11, 10), "b");
        assert_eq!(positions.lowest_unanswered(), a);
        positions.answered(a, &log(1, 0, 12, 10), "a");
        // Both are answered, neither is durable.
        assert_eq!(positions.lowest_unanswered(), a);
        positions.observe(&log(1, 0, 12, 11));
        assert_eq!(positions.lowest_unanswered(), a);
        positions.observe(&log(1, 0, 12, 12));
        assert_eq!(positions.lowest_unanswered(), c);
        positions.give_up(c);
        assert_eq!(positions.lowest_unanswered().0, 4);
        assert!(positions.all_durable());
    }

    #[test]
    fn p1_a_restart_that_lost_a_suffix_has_it_sent_again_in_order() {
        let mut positions = Positions::default();
        let numbers: Vec<_> = (0..4).map(|_| positions.begin()).collect();
        // Carried out in another order than begun.
        positions.answered(numbers[0], &log(1, 0, 10, 10), "durable");
        positions.answered(numbers[2], &log(1, 0, 11, 10), "kept by the restart");
        positions.answered(numbers[3], &log(1, 0, 12, 10), "first lost");
        positions.answered(numbers[1], &log(1, 0, 13, 10), "second lost");
        positions.observe(&log(2, 12, 12, 12));
        assert_eq!(lost(&positions), [(4, "first lost"), (2, "second lost")]);
        assert_eq!(positions.lowest_unanswered(), numbers[1]);

        positions.answered(numbers[3], &log(2, 12, 13, 12), "first lost");
        assert_eq!(lost(&positions), [(2, "second lost")]);
        positions.answered(numbers[1], &log(2, 12, 14, 14), "second lost");
        assert!(positions.all_durable());
    }

    #[test]
    fn a_restart_that_lost_nothing_has_nothing_sent_again() {
        let mut positions = Positions::default();
        let number = positions.begin();
        positions.answered(number, &log(1, 0, 10, 5), "a");
        positions.observe(&log(2, 11, 11, 11));
        assert!(!positions.has_lost());
        assert!(positions.all_durable());
    }

    #[test]
    fn a_term_that_was_never_seen_may_have_lost_anything() {
        let mut positions = Positions::default();
        let number = positions.begin();
        positions.answered(number, &log(1, 0, 10, 5), "a");
        // Term 2 may have begun at 8 and written other entries up to 20.
        positions.observe(&log(3, 21, 21, 21));
        assert_eq!(lost(&positions), [(1, "a")]);
    }

    #[test]
    fn a_late_answer_of_an_older_term_is_judged_by_the_newer_one() {
        let mut positions = Positions::default();
        let (a, b) = (positions.begin(), positions.begin());
        positions.observe(&log(2, 12, 12, 12));
        positions.answered(a, &log(1, 0, 11, 5), "below the start");
        positions.answered(b, &log(1, 0, 12, 5), "lost");
        assert_eq!(lost(&positions), [(2, "lost")]);
    }

    #[test]
    fn a_second_restart_while_sending_again_loses_again() {
        let mut positions = Positions::default();
        let number = positions.begin();
        positions.answered(number, &log(1, 0, 10, 5), "a");
        positions.observe(&log(2, 8, 8, 8));
        positions.answered(number, &log(2, 8, 9, 8), "a");
        assert!(!positions.has_lost());
        positions.observe(&log(3, 9, 9, 9));
        assert_eq!(lost(&positions), [(1, "a")]);
    }

    #[test]
    fn a_lost_session_starts_anew() {
        let mut positions = Positions::default();
        let number = positions.begin();
        positions.answered(number, &log(1, 0, 10, 5), "a");
        assert_eq!(positions.reset(), 1);
        assert_eq!(positions.begin().0, 1);
    }
}
