//! A history in parts that can be judged by themselves: each file, and the directories that a rename or a link joins.
//!
//! A call that looks at a name and at the file that it leads to is two, one in each part, as it is to the kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::directory::{Made, NameOp};
use super::file::FileOp;
use super::history::{CELL, Call, How, Ino, Op, Outcome};
use super::search::Event;

#[derive(Debug)]
pub(super) struct Part<O> {
    pub(super) name: String,
    /// With the number of the call.
    pub(super) events: Vec<(usize, Event<O>)>,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) files: Vec<Part<FileOp>>,
    pub(super) directories: Vec<Part<NameOp>>,
}

pub(super) fn split(calls: &[Call]) -> Parts {
    let event = |call: &Call| (call.start, call.ended());
    let mut files: BTreeMap<Ino, Vec<_>> = BTreeMap::new();
    let mut names = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let (start, end) = event(call);
        if let Some((ino, op)) = of_file(call) {
            files.entry(ino).or_default().push((index, Event { start, end, ops: vec![op] }));
        }
        names.extend(of_names(index, call).map(|op| {
            let or = or_nothing(&op, call, calls);
            (index, Event { start, end, ops: [Some(op), or].into_iter().flatten().collect() })
        }));
    }
    for (index, call) in calls.iter().enumerate() {
        let (start, end) = event(call);
        if let (Op::Open { how: How::Truncate, .. }, None) = (&call.op, end) {
            // Nobody knows which file it was.
            let cut = || (index, Event { start, end, ops: vec![FileOp::Cut { size: 0 }] });
            files.values_mut().for_each(|events| events.push(cut()));
        }
    }
    let files = files.into_iter().map(|(ino, events)| Part { name: format!("file {ino}"), events });
    Parts { files: files.collect(), directories: joined(names) }
}

/// Bytes that are a number of cells, or not.
fn has_size(bytes: u64) -> FileOp {
    match bytes.is_multiple_of(CELL as u64) {
        true => FileOp::HasSize(bytes / CELL as u64),
        false => FileOp::Odd,
    }
}

fn of_file(call: &Call) -> Option<(Ino, FileOp)> {
    let op = match (&call.op, &call.outcome) {
        (Op::Open { how: How::Truncate, .. }, Outcome::Opened(ino)) => {
            return Some((*ino, FileOp::Cut { size: 0 }));
        }
        (Op::Stat { .. }, Outcome::Status { ino, size, .. }) => {
            return Some((*ino, has_size(*size)));
        }
        (Op::StatOpen { ino }, Outcome::Status { size, ino: seen, .. }) if ino == seen => {
            has_size(*size)
        }
        (Op::Read { .. }, Outcome::Cells(cells)) => FileOp::Reads(cells.clone()),
        (Op::Write { at, len, tag, .. }, Outcome::Done | Outcome::CutOff) => {
            FileOp::Write { at: *at, len: *len, tag: *tag }
        }
        (Op::Append { len, tag, .. }, Outcome::Done | Outcome::CutOff) => {
            FileOp::Append { len: *len, tag: *tag }
        }
        (Op::Cut { size, .. }, Outcome::Done | Outcome::CutOff) => FileOp::Cut { size: *size },
        (_, Outcome::CutOff) => return None,
        _ => FileOp::Odd,
    };
    match call.op {
        Op::StatOpen { ino }
        | Op::Read { ino }
        | Op::Write { ino, .. }
        | Op::Append { ino, .. }
        | Op::Cut { ino, .. } => Some((ino, op)),
        _ => None,
    }
}

fn of_names(index: usize, call: &Call) -> impl Iterator<Item = NameOp> {
    use Outcome::{CutOff, Done, Entries, Failed, Opened, Status};
    const NONE: [Option<NameOp>; 2] = [None, None];
    let one = |op| [Some(op), None];
    let make = |at, made, how| NameOp::Make { at, made, exclusive: how == How::Exclusive };
    let ops = match (&call.op, &call.outcome) {
        (Op::Open { at, how, .. }, outcome) => match (how, outcome) {
            (How::Read | How::Write, Opened(ino)) => one(NameOp::Leads { at: *at, ino: *ino }),
            (How::Read | How::Write, Failed(libc::ENOENT)) => one(NameOp::IsAbsent { at: *at }),
            (How::Read | How::Write, CutOff) => NONE,
            (_, Opened(ino)) => one(make(*at, Made::Ino(*ino), *how)),
            (How::Exclusive, Failed(libc::EEXIST)) => one(NameOp::IsThere { at: *at }),
            (_, CutOff) => one(make(*at, Made::By(index), *how)),
            _ => one(NameOp::Odd),
        },
        (Op::Stat { at }, Status { ino, nlink, .. }) => [
            Some(NameOp::Leads { at: *at, ino: *ino }),
            Some(NameOp::HasLinks { ino: *ino, count: *nlink }),
        ],
        (
            Op::Stat { at } | Op::Unlink { at } | Op::Rename { from: at, .. },
            Failed(libc::ENOENT),
        ) => one(NameOp::IsAbsent { at: *at }),
        (Op::Unlink { at }, Done | CutOff) => one(NameOp::Unlink { at: *at }),
        (Op::Rename { from, to }, Done | CutOff) => one(NameOp::Rename { from: *from, to: *to }),
        (Op::List { dir }, Entries(entries)) => {
            one(NameOp::Lists { dir: *dir, entries: entries.clone() })
        }
        (Op::Link { ino, to }, Done | CutOff) => one(NameOp::Link { ino: *ino, to: *to }),
        (Op::Link { to, .. }, Failed(libc::EEXIST)) => one(NameOp::IsThere { at: *to }),
        // Linux refuses by its own count of the links, from which it has taken one too many if another mount has moved the
        // file away from a name just before it was removed or replaced there.
        (Op::Link { .. }, Failed(libc::ENOENT)) => NONE,
        (Op::StatOpen { .. }, Status { ino, nlink, .. }) => {
            one(NameOp::HasLinks { ino: *ino, count: *nlink })
        }
        (_, CutOff) => NONE,
        (Op::Stat { .. } | Op::Unlink { .. } | Op::Rename { .. }, _)
        | (Op::List { .. } | Op::Link { .. }, _) => one(NameOp::Odd),
        // Judged with the file.
        (Op::StatOpen { .. } | Op::Read { .. } | Op::Write { .. }, _)
        | (Op::Append { .. } | Op::Cut { .. }, _) => NONE,
    };
    ops.into_iter().flatten()
}

/// Linux looks both names of a rename up, one after the other, and does nothing if both lead to one file, as if they were
/// two links. If another mount moves the file from the one to the other between these looks, neither is done any more, and
/// both calls have ended well.
fn or_nothing(op: &NameOp, call: &Call, calls: &[Call]) -> Option<NameOp> {
    let NameOp::Rename { to: at, .. } = op else { return None };
    let goes_there = |other: &Call| match &other.op {
        Op::Rename { to, .. } | Op::Link { to, .. } => to == at,
        _ => false,
    };
    let meanwhile =
        |other: &Call| other.start <= call.end && other.ended().is_none_or(|end| call.start <= end);
    let mut others = calls.iter().filter(|other| other.mount != call.mount);
    others.any(|other| goes_there(other) && meanwhile(other)).then_some(NameOp::IsThere { at: *at })
}

/// Directories and files of an operation on names.
fn touched(op: &NameOp) -> (Vec<u8>, Vec<Ino>) {
    match op {
        NameOp::Leads { at, ino } => (vec![at.dir], vec![*ino]),
        NameOp::Make { at, made: Made::Ino(ino), .. } => (vec![at.dir], vec![*ino]),
        NameOp::IsAbsent { at }
        | NameOp::IsThere { at }
        | NameOp::Make { at, made: Made::By(_), .. }
        | NameOp::Unlink { at } => (vec![at.dir], Vec::new()),
        NameOp::Lists { dir, entries } => (vec![*dir], entries.values().copied().collect()),
        NameOp::HasLinks { ino, .. } => (Vec::new(), vec![*ino]),
        NameOp::Rename { from, to } => (vec![from.dir, to.dir], Vec::new()),
        NameOp::Link { ino, to } => (vec![to.dir], vec![*ino]),
        NameOp::Odd => (Vec::new(), Vec::new()),
    }
}

#[derive(Default)]
struct Group {
    dirs: BTreeSet<u8>,
    inos: BTreeSet<Ino>,
    events: Vec<(usize, Event<NameOp>)>,
}

fn joined(events: Vec<(usize, Event<NameOp>)>) -> Vec<Part<NameOp>> {
    let mut groups: Vec<Group> = Vec::new();
    for event in events {
        let (dirs, inos) = touched(&event.1.ops[0]);
        let mut group = Group::default();
        group.dirs.extend(dirs);
        group.inos.extend(inos);
        group.events.push(event);
        let is_joined = |other: &mut Group| {
            !other.dirs.is_disjoint(&group.dirs) || !other.inos.is_disjoint(&group.inos)
        };
        let joined: Vec<_> = groups.extract_if(.., is_joined).collect();
        for mut other in joined {
            group.dirs.append(&mut other.dirs);
            group.inos.append(&mut other.inos);
            group.events.append(&mut other.events);
        }
        groups.push(group);
    }
    let part = |group: Group| {
        let dirs: Vec<_> = group.dirs.iter().map(|dir| format!("d{dir}")).collect();
        Part { name: format!("directories {}", dirs.join(", ")), events: group.events }
    };
    groups.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::super::history::Place;
    use super::*;

    fn call(op: Op, outcome: Outcome) -> Call {
        Call { mount: 0, thread: 0, start: 1, end: 2, op, outcome }
    }

    fn open(dir: u8, how: How, outcome: Outcome) -> Call {
        call(Op::Open { at: Place { dir, name: 0 }, how, append: false }, outcome)
    }

    fn names_of(calls: &[Call]) -> Vec<String> {
        split(calls).directories.into_iter().map(|part| part.name).collect()
    }

    #[test]
    fn directories_are_joined_by_what_is_in_both() {
        let one = open(0, How::Create, Outcome::Opened(1));
        let two = open(1, How::Create, Outcome::Opened(2));
        assert_eq!(names_of(&[one.clone(), two.clone()]), ["directories d0", "directories d1"]);
        let [from, to] = [0, 1].map(|dir| Place { dir, name: 0 });
        let rename = call(Op::Rename { from, to }, Outcome::Done);
        assert_eq!(names_of(&[one.clone(), two.clone(), rename]), ["directories d0, d1"]);
        let link = call(Op::Link { ino: 1, to }, Outcome::CutOff);
        assert_eq!(names_of(&[one, two, link]), ["directories d0, d1"]);
    }

    #[test]
    fn a_rename_does_nothing_only_while_another_mount_has_the_same_target() {
        let rename = |mount, start, to| {
            let op = Op::Rename { from: Place { dir: 0, name: 0 }, to: Place { dir: 0, name: to } };
            Call { mount, start, end: start + 5, ..call(op, Outcome::Done) }
        };
        let choices = |other: Call| {
            let parts = split(&[rename(0, 10, 1), other]);
            parts.directories[0].events[0].1.ops.len()
        };
        assert_eq!(choices(rename(1, 12, 1)), 2);
        assert_eq!(choices(rename(0, 12, 1)), 1);
        assert_eq!(choices(rename(1, 16, 1)), 1);
        assert_eq!(choices(rename(1, 4, 1)), 1);
        assert_eq!(choices(rename(1, 12, 2)), 1);
    }

    #[test]
    fn a_truncating_open_that_was_cut_off_may_have_met_any_file() {
        let open_of = |ino| open(0, How::Truncate, Outcome::Opened(ino));
        let cut_off = open(0, How::Truncate, Outcome::CutOff);
        let parts = split(&[open_of(1), open_of(2), cut_off]);
        for part in &parts.files {
            let ends: Vec<_> =
                part.events.iter().map(|(index, event)| (*index, event.end)).collect();
            assert_eq!(ends[1], (2, None), "{part:?}");
            assert_eq!(ends[0].1, Some(2), "{part:?}");
        }
        assert_eq!(parts.files.len(), 2);
    }

    #[test]
    fn an_answer_that_nobody_may_give_is_kept() {
        let odd = |calls: &[Call]| {
            let parts = split(calls);
            let of_files = parts.files.iter().flat_map(|part| &part.events);
            let of_names = parts.directories.iter().flat_map(|part| &part.events);
            of_files.filter(|(_, event)| event.ops[0] == FileOp::Odd).count()
                + of_names.filter(|(_, event)| event.ops[0] == NameOp::Odd).count()
        };
        let at = Place { dir: 0, name: 0 };
        assert_eq!(odd(&[open(0, How::Create, Outcome::Failed(libc::EIO))]), 1);
        assert_eq!(odd(&[call(Op::Unlink { at }, Outcome::Failed(libc::ESTALE))]), 1);
        assert_eq!(odd(&[call(Op::Read { ino: 1 }, Outcome::Odd("half a cell".into()))]), 1);
        assert_eq!(odd(&[call(Op::Cut { ino: 1, size: 2 }, Outcome::Failed(libc::EIO))]), 1);
        let size = Outcome::Status { ino: 1, size: CELL as u64 + 1, nlink: 1 };
        assert_eq!(odd(&[call(Op::Stat { at }, size)]), 1);
        assert_eq!(odd(&[call(Op::Read { ino: 1 }, Outcome::CutOff)]), 0);
    }
}
