//! Locked locked of one file, as fcntl(2) has them.

use std::ops::Range;

use crate::lock::Take;

/// End of a range that reaches to the end of all files.
pub(super) const EVERYTHING: u64 = u64::MAX;

/// What `owners` have locked. No two locked of one owner overlap, and of those that touch no two are alike.
#[derive(Clone, Debug)]
pub(super) struct Locked<Owner> {
    held: Vec<Held<Owner>>,
}

#[derive(Clone, Debug)]
struct Held<Owner> {
    owner: Owner,
    range: Range<u64>,
    exclusive: bool,
}

impl<Owner> Default for Locked<Owner> {
    fn default() -> Self {
        Locked { held: Vec::new() }
    }
}

/// `len` zero is to the end of all files.
pub(super) fn range(start: u64, len: u64) -> Range<u64> {
    start..if len == 0 { EVERYTHING } else { start + len }
}

impl<Owner: Copy + PartialEq> Locked<Owner> {
    /// What is in the way of a lock: any of these may be named.
    pub(super) fn conflicts(
        &self,
        owner: Owner,
        range: &Range<u64>,
        exclusive: bool,
    ) -> Vec<Range<u64>> {
        let held = self.held.iter().filter(|held| {
            held.owner != owner && (held.exclusive || exclusive) && overlap(&held.range, range)
        });
        held.map(|held| held.range.clone()).collect()
    }

    /// `false`: others have it.
    pub(super) fn set(&mut self, owner: Owner, range: Range<u64>, take: Take) -> bool {
        let exclusive = take == Take::Exclusive;
        if take != Take::Unlock && !self.conflicts(owner, &range, exclusive).is_empty() {
            return false;
        }
        self.cut(owner, &range);
        if take != Take::Unlock {
            self.add(owner, range, exclusive);
        }
        true
    }

    pub(super) fn drop_all_of(&mut self, owner: Owner) {
        self.held.retain(|held| held.owner != owner);
    }

    pub(super) fn has(&self, owner: Owner) -> bool {
        self.held.iter().any(|held| held.owner == owner)
    }

    fn cut(&mut self, owner: Owner, range: &Range<u64>) {
        for held in std::mem::take(&mut self.held) {
            if held.owner != owner || !overlap(&held.range, range) {
                self.held.push(held);
                continue;
            }
            for rest in [held.range.start..range.start, range.end..held.range.end] {
                if rest.start < rest.end {
                    self.held.push(Held { range: rest, ..held });
                }
            }
        }
    }

    fn add(&mut self, owner: Owner, mut range: Range<u64>, exclusive: bool) {
        self.held.retain(|held| {
            let touches = held.range.end == range.start || held.range.start == range.end;
            let joined = held.owner == owner && held.exclusive == exclusive && touches;
            if joined {
                range = held.range.start.min(range.start)..held.range.end.max(range.end);
            }
            !joined
        });
        self.held.push(Held { owner, range, exclusive });
    }
}

fn overlap(left: &Range<u64>, right: &Range<u64>) -> bool {
    left.start < right.end && right.start < left.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_splits_joins_and_converts_its_own() {
        let mut locked = Locked::default();
        assert!(locked.set(1, 0..10, Take::Exclusive));
        assert!(locked.set(1, 4..6, Take::Unlock));
        assert_eq!(locked.conflicts(2, &(0..20), false), [0..4, 6..10]);
        assert!(locked.set(2, 4..6, Take::Shared) && !locked.set(2, 4..7, Take::Shared));
        assert!(locked.set(1, range(10, 0), Take::Exclusive));
        assert_eq!(locked.conflicts(2, &(8..9), false), vec![range(6, 0)]);
        assert!(locked.set(1, range(6, 0), Take::Shared) && locked.set(2, 4..7, Take::Shared));
        locked.drop_all_of(1);
        assert!(!locked.has(1) && locked.has(2));
        assert!(locked.set(3, range(7, 0), Take::Exclusive));
    }
}
