//! The search for an order (Wing and Gong), with a memory of the pairs of calls done and state that led nowhere (Lowe).

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What does one operation after the other.
pub(super) trait Model {
    type Op: Clone + Debug;
    type State: Clone + Default + Debug + Eq + Hash;

    /// The state after it. `None`: it does not end as it did, here.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether it changes nothing, wherever it comes.
    fn only_looks(op: &Self::Op) -> bool;
}

/// One that has no end may come at any time after its start, or not at all.
#[derive(Clone, Debug)]
pub(super) struct Event<O> {
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    /// It was one of these.
    pub(super) ops: Vec<O>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Order,
    NoOrder,
    /// Too much to try.
    Undecided,
}

/// Pairs that are remembered, some 100 bytes each.
const MEMORY_MAX: usize = 10_000_000;

/// Steps between two looks at the clock.
const STEPS: u32 = 1024;

pub(super) fn search<M: Model>(events: &[Event<M::Op>], limit: Duration) -> Answer {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|event| event.start);
    let start = Instant::now();
    let mut dead_ends = HashSet::new();
    let mut path = vec![Node::<M>::new(&events, Done::default(), M::State::default())];
    for step in 1u32.. {
        let Some(node) = path.last_mut() else { return Answer::NoOrder };
        if node.is_end {
            return Answer::Order;
        }
        let Some((next, choice)) = node.next.pop() else {
            path.pop();
            continue;
        };
        let op = &events[next].ops[choice];
        let Some(state) = M::step(&node.state, op) else { continue };
        if events[next].ops.len() == 1 && M::only_looks(op) && state == node.state {
            // Here is as good as anywhere: no other choice needs to be tried.
            node.next.clear();
        }
        let mut done = node.done.clone();
        done.insert(next);
        let key = (done, state);
        if dead_ends.contains(&key) {
            continue;
        }
        dead_ends.insert(key.clone());
        path.push(Node::new(&events, key.0, key.1));
        let too_long = step.is_multiple_of(STEPS) && start.elapsed() >= limit;
        if too_long || dead_ends.len() >= MEMORY_MAX {
            return Answer::Undecided;
        }
    }
    Answer::Undecided
}

/// What was put in order so far.
struct Node<M: Model> {
    done: Done,
    state: M::State,
    is_end: bool,
    /// Which may come next and were not tried, with which of their operations; the best last.
    next: Vec<(usize, usize)>,
}

impl<M: Model> Node<M> {
    fn new(events: &[&Event<M::Op>], done: Done, state: M::State) -> Self {
        let mut next = Vec::new();
        // One that begins after another has ended cannot come before it.
        let mut first_end = u64::MAX;
        for (index, event) in events.iter().enumerate().skip(done.all_below()) {
            if event.start > first_end {
                break;
            }
            if !done.contains(index) {
                next.extend((0..event.ops.len()).map(|choice| (index, choice)));
                first_end = first_end.min(event.end.unwrap_or(u64::MAX));
            }
        }
        next.retain(|(index, _)| events[*index].start <= first_end);
        // Looks first, as they leave no choice; then in the order of the ends.
        next.sort_by_key(|(index, choice)| {
            let event = events[*index];
            (M::only_looks(&event.ops[*choice]), std::cmp::Reverse(event.end.unwrap_or(u64::MAX)))
        });
        Node { done, state, is_end: first_end == u64::MAX, next }
    }
}

/// Set of indices, most of which are all below some index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    full_words: usize,
    words: Vec<u64>,
}

impl Done {
    fn insert(&mut self, index: usize) {
        let word = index / 64 - self.full_words;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        self.words.drain(..full);
        self.full_words += full;
    }

    fn contains(&self, index: usize) -> bool {
        (index / 64).checked_sub(self.full_words).is_none_or(|word| {
            self.words.get(word).is_some_and(|word| word & (1 << (index % 64)) != 0)
        })
    }

    fn all_below(&self) -> usize {
        self.full_words * 64
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A cell that is written, compared and set, and read.
    struct Cell;

    #[derive(Clone, Copy, Debug)]
    enum CellOp {
        Write(u8),
        Read(u8),
        Swap { from: u8, to: u8 },
    }

    impl Model for Cell {
        type Op = CellOp;
        type State = u8;

        fn step(state: &u8, op: &CellOp) -> Option<u8> {
            match op {
                CellOp::Write(value) => Some(*value),
                CellOp::Read(value) => (value == state).then_some(*state),
                CellOp::Swap { from, to } => (from == state).then_some(*to),
            }
        }

        fn only_looks(op: &CellOp) -> bool {
            matches!(op, CellOp::Read(_))
        }
    }

    /// Whether an order exists, by trying all.
    fn exists(events: &[Event<CellOp>], left: &[usize], state: u8) -> bool {
        if left.iter().all(|index| events[*index].end.is_none()) {
            return true;
        }
        left.iter().any(|next| {
            let rest: Vec<_> = left.iter().copied().filter(|other| other != next).collect();
            let comes_late =
                rest.iter().any(|o| events[*o].end.is_some_and(|end| end < events[*next].start));
            !comes_late
                && events[*next].ops.iter().any(|op| {
                    Cell::step(&state, op).is_some_and(|state| exists(events, &rest, state))
                })
        })
    }

    fn drawn(random: &mut StdRng) -> Vec<Event<CellOp>> {
        let count = random.random_range(1..=7);
        let event = |random: &mut StdRng| {
            let start = random.random_range(0..12);
            let end = random.random_bool(0.85).then(|| start + random.random_range(0..8));
            let [one, other] = [(); 2].map(|()| random.random_range(0..3));
            let op = |random: &mut StdRng| match random.random_range(0..3) {
                0 => CellOp::Write(one),
                1 => CellOp::Read(one),
                _ => CellOp::Swap { from: one, to: other },
            };
            let choices = random.random_range(1..=4) / 4 + 1;
            Event { start, end, ops: (0..choices).map(|_| op(random)).collect() }
        };
        (0..count).map(|_| event(random)).collect()
    }

    #[test]
    fn it_answers_as_trying_all_orders_does() {
        let mut found = 0;
        for seed in 0..20_000 {
            let events = drawn(&mut StdRng::seed_from_u64(seed));
            let all: Vec<_> = (0..events.len()).collect();
            let expected = exists(&events, &all, 0);
            found += usize::from(expected);
            let answer = search::<Cell>(&events, Duration::from_secs(60));
            let wanted = if expected { Answer::Order } else { Answer::NoOrder };
            assert_eq!(answer, wanted, "seed {seed}: {events:?}");
        }
        assert!((4_000..16_000).contains(&found), "both answers are wanted often: {found}");
    }

    #[test]
    fn what_takes_too_long_is_undecided() {
        // 2^20 sums, and none of them is the one that is read.
        struct Sum;
        impl Model for Sum {
            type Op = (u64, bool);
            type State = u64;
            fn step(state: &u64, (value, reads): &(u64, bool)) -> Option<u64> {
                if *reads { (state == value).then_some(*state) } else { Some(state + value) }
            }
            fn only_looks((_, reads): &(u64, bool)) -> bool {
                *reads
            }
        }
        let add = |bit: u32| Event { start: 0, end: None, ops: vec![(2 << bit, false)] };
        let mut events: Vec<_> = (0..40).map(add).collect();
        events.push(Event { start: 0, end: Some(1), ops: vec![(1, true)] });
        assert_eq!(search::<Sum>(&events, Duration::from_millis(50)), Answer::Undecided);
    }

    #[test]
    fn indices_that_are_done_are_the_inserted_ones() {
        let mut done = Done::default();
        for index in (0..200).rev() {
            assert!(!done.contains(index));
            done.insert(index);
            assert!(done.contains(index));
        }
        assert_eq!((done.all_below(), done.contains(199), done.contains(200)), (192, true, false));
    }
}
