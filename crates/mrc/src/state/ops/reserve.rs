//! Numbers of the group (P5): which are reserved, which were seen, which were never used.
//!
//! Numbers mostly arrive in order, so that what was seen is one bound. A number that is jumped over
//! is kept in a gap row until it arrives, or until a new leader says that it never will.

use xtfs_core::{Error, Result};
use xtfs_kv::{KeyRange, Read};

use crate::state::command::{Answer, NumberRange, Reserve};
use crate::state::keys::{GAP, NEVER_USED, decode, last_number, load, store};
use crate::state::machine::Group;
use crate::state::rows::{all, numbered};

pub(in crate::state) fn reserve(group: &mut Group<'_, '_>, reserve: Reserve) -> Result<Answer> {
    let start = group.counters.reserved;
    let end = start
        .checked_add(reserve.count)
        .ok_or_else(|| Error::Invalid("more numbers than there are".into()))?;
    if reserve.restart {
        give_up(group)?;
    }
    group.counters.reserved = end;
    Ok(Answer::Reserved(NumberRange { start, end }))
}

/// What the leader before had reserved and what did not arrive: no command will use it any more.
fn give_up(group: &mut Group<'_, '_>) -> Result<()> {
    let gaps: Vec<(u64, u64)> = numbered(&*group.tx, &group.keys.table(GAP))?;
    for (start, end) in gaps {
        group.tx.delete(&group.keys.gap(start));
        store(group.tx, &group.keys.never_used(start), &end)?;
    }
    let (seen, reserved) = (group.counters.seen, group.counters.reserved);
    if seen < reserved {
        store(group.tx, &group.keys.never_used(seen), &reserved)?;
        group.counters.seen = reserved;
    }
    Ok(())
}

/// Notes that a command with `number` arrived. One that was given up is refused: columns with it are
/// being dropped as garbage.
pub(in crate::state) fn see(group: &mut Group<'_, '_>, number: u64) -> Result<()> {
    let seen = group.counters.seen;
    if number >= group.counters.reserved {
        return Err(Error::Invalid(format!("number {number} was not reserved")));
    }
    if number >= seen {
        if number > seen {
            store(group.tx, &group.keys.gap(seen), &number)?;
        }
        group.counters.seen = number + 1;
        return Ok(());
    }
    let Some(gap) = range_around(group.tx, &group.keys.table(GAP), number)? else {
        return if range_around(group.tx, &group.keys.table(NEVER_USED), number)?.is_some() {
            Err(Error::Unavailable(format!("number {number} is of a leader before")))
        } else {
            Ok(())
        };
    };
    group.tx.delete(&group.keys.gap(gap.start));
    if gap.start < number {
        store(group.tx, &group.keys.gap(gap.start), &number)?;
    }
    if number + 1 < gap.end {
        store(group.tx, &group.keys.gap(number + 1), &gap.end)?;
    }
    Ok(())
}

/// The range of the table that `number` lies in. There are few: one for each jump.
fn range_around(read: &dyn Read, table: &[u8], number: u64) -> Result<Option<NumberRange>> {
    let mut end = table.to_vec();
    end.extend((number + 1).to_be_bytes());
    let mut range = KeyRange { start: table.to_vec(), end: Some(end) };
    let mut last = None;
    loop {
        let rows = read.scan(&range, 1000)?;
        let Some((key, value)) = rows.last() else { break };
        let found = NumberRange { start: last_number(key)?, end: decode(key, value)? };
        last = Some(found);
        range.start = KeyRange::prefix_after(table, key).start;
    }
    Ok(last.filter(|range| number < range.end))
}

/// All targets have dropped what carried these numbers.
pub(in crate::state) fn forget(group: &mut Group<'_, '_>, range: NumberRange) -> Result<Answer> {
    let key = group.keys.never_used(range.start);
    let end: Option<u64> = load(group.tx, &key)?;
    if end == Some(range.end) {
        group.tx.delete(&key);
    }
    Ok(Answer::Done)
}

/// Ranges of numbers that were never used, and that targets may still have columns of.
pub(in crate::state) fn never_used(read: &dyn Read, table: &[u8]) -> Result<Vec<NumberRange>> {
    let rows = all(read, table)?;
    rows.iter()
        .map(|(key, value)| Ok(NumberRange { start: last_number(key)?, end: decode(key, value)? }))
        .collect()
}
