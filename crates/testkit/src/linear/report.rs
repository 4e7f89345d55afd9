//! What is shown of a history that was rejected: its shortest beginning without an order, without the looks that have
//! nothing to do with it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::history::Call;
use super::search::{Answer, Event, Model, search};
use super::split::Part;

/// For each of many searches.
const LIMIT: Duration = Duration::from_secs(2);

/// Calls that are shown, the last ones.
const SHOWN_MAX: usize = 80;

#[derive(Clone, Debug)]
pub struct Rejection {
    what: String,
    calls: Vec<Call>,
}

impl Rejection {
    pub(super) fn undecided<O>(part: &Part<O>, calls: &[Call], limit: Duration) -> Self {
        let shown = part.events.iter().map(|(index, _)| *index).collect();
        let what = format!("{}: undecided after {limit:?}", part.name);
        Rejection { what, calls: picked(calls, &shown) }
    }
}

pub(super) fn shortest<M: Model>(part: &Part<M::Op>, calls: &[Call]) -> Rejection {
    let mut ends: Vec<_> = part.events.iter().filter_map(|(_, event)| event.end).collect();
    ends.sort_unstable();
    // A beginning of what has an order has one.
    let first = ends.partition_point(|end| !has_no_order::<M>(&beginning(&part.events, *end)));
    let last = ends.get(first).copied().unwrap_or(u64::MAX);
    let mut kept = beginning(&part.events, last);
    let mut index = 0;
    while index < kept.len() {
        let mut without = kept.clone();
        let (_, event) = without.remove(index);
        if event.ops.iter().all(M::only_looks) && has_no_order::<M>(&without) {
            kept = without;
        } else {
            index += 1;
        }
    }
    let shown = kept.iter().map(|(index, _)| *index).collect();
    Rejection { what: format!("{}: no order", part.name), calls: picked(calls, &shown) }
}

fn has_no_order<M: Model>(events: &[(usize, Event<M::Op>)]) -> bool {
    let events: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
    search::<M>(&events, LIMIT) == Answer::NoOrder
}

/// What had begun until then; what had not ended may be left out.
fn beginning<O: Clone>(events: &[(usize, Event<O>)], until: u64) -> Vec<(usize, Event<O>)> {
    let begun = events.iter().filter(|(_, event)| event.start <= until);
    let cut = |(index, event): &(usize, Event<O>)| {
        let end = event.end.filter(|end| *end <= until);
        (*index, Event { end, ..event.clone() })
    };
    begun.map(cut).collect()
}

fn picked(calls: &[Call], shown: &BTreeSet<usize>) -> Vec<Call> {
    let mut calls: Vec<_> = shown.iter().map(|index| calls[*index].clone()).collect();
    calls.sort_by_key(|call| call.start);
    calls
}

/// Times in µs since the first of the calls.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        let left_out = self.calls.len().saturating_sub(SHOWN_MAX);
        if left_out > 0 {
            writeln!(f, "({left_out} earlier calls are not shown)")?;
        }
        let first = self.calls.first().map_or(0, |call| call.start);
        for call in &self.calls[left_out..] {
            let since = |time: u64| (time - first) / 1000;
            let Call { mount, thread, start, end, op, outcome } = call;
            let (start, end) = (since(*start), since(*end));
            writeln!(f, "{start:>9}..{end:<9} mount {mount} thread {thread:<3} {op} -> {outcome}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{File, FileOp};
    use super::super::history::{Op, Outcome};
    use super::*;

    fn write(tag: u32) -> (Op, FileOp) {
        (Op::Write { ino: 1, at: 0, len: 1, tag }, FileOp::Write { at: 0, len: 1, tag })
    }

    fn read(tag: u32) -> (Op, FileOp) {
        (Op::Read { ino: 1 }, FileOp::Reads(vec![tag]))
    }

    #[test]
    fn what_comes_after_it_and_looks_aside_are_not_shown() {
        let ops = [write(1), read(1), read(1), write(2), read(1), write(3), read(3)];
        let call = |at: usize, op: &Op| {
            let at = at as u64 * 1_000_000;
            let (start, end) = (at, at + 1000);
            Call { mount: 0, thread: 0, start, end, op: op.clone(), outcome: Outcome::Done }
        };
        let calls: Vec<_> = ops.iter().enumerate().map(|(at, (op, _))| call(at, op)).collect();
        let event = |at: usize| {
            let (start, end) = (calls[at].start, Some(calls[at].end));
            (at, Event { start, end, ops: vec![ops[at].1.clone()] })
        };
        let part = Part { name: "file 1".into(), events: (0..ops.len()).map(event).collect() };
        let rejection = shortest::<File>(&part, &calls);
        let starts: Vec<_> = rejection.calls.iter().map(|call| call.start / 1_000_000).collect();
        assert_eq!(starts, [0, 3, 4], "{rejection}");
    }
}
