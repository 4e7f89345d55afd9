//! A file system in memory that does one call after the other, with a fault if one is wanted: what the checker must find.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::file::{File, FileOp};
use super::history::{CELL, How, Ino, Op, Outcome, Place, Tag};
use super::record::System;
use super::search::Model;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// As the file was before its last change.
    StaleRead,
    StaleSize,
    /// Half of it is as before the last change.
    TornRead,
    LostWrite,
    /// Once more, when something else was written meanwhile.
    RepeatedWrite,
    /// Where the file ended before its last change.
    AppendAtOldEnd,
    LostTruncation,
    /// Instead of zeros.
    OldBytesAfterGrowth,
    /// What was there before the last change of a name.
    StaleEntry,
    StaleAbsence,
    StaleListing,
    StaleLinks,
    ExclusiveOpensWhatIsThere,
    LostUnlink,
    /// The old name stays.
    HalfRename,
    /// Names that are there are replaced by what others made at once.
    CreatedTwice,
}

impl Fault {
    pub(super) const ALL: [Fault; 16] = [
        Fault::StaleRead,
        Fault::StaleSize,
        Fault::TornRead,
        Fault::LostWrite,
        Fault::RepeatedWrite,
        Fault::AppendAtOldEnd,
        Fault::LostTruncation,
        Fault::OldBytesAfterGrowth,
        Fault::StaleEntry,
        Fault::StaleAbsence,
        Fault::StaleListing,
        Fault::StaleLinks,
        Fault::ExclusiveOpensWhatIsThere,
        Fault::LostUnlink,
        Fault::HalfRename,
        Fault::CreatedTwice,
    ];
}

/// Of so many calls that a fault could befall it befalls one.
const EVERY: u32 = 5;

#[derive(Debug, Default)]
struct Content {
    now: Vec<Tag>,
    before: Vec<Tag>,
    /// What was ever written, whatever was cut.
    ever: Vec<Tag>,
    late: Option<FileOp>,
}

#[derive(Clone, Debug, Default)]
struct World {
    now: BTreeMap<Place, Ino>,
    before: BTreeMap<Place, Ino>,
}

#[derive(Debug, Default)]
struct State {
    names: World,
    files: BTreeMap<Ino, Content>,
    chances: u32,
}

#[derive(Debug)]
pub(super) struct Memory {
    state: Mutex<State>,
    fault: Option<Fault>,
}

impl Memory {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Memory { state: Mutex::default(), fault }
    }

    /// Others may come between the beginning of a call and what it does, and between that and its end.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut State, &mut dyn FnMut(&mut State, Fault) -> bool) -> T,
    ) -> T {
        std::thread::yield_now();
        let done = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            act(&mut state, &mut |state: &mut State, fault| {
                state.chances += u32::from(self.fault == Some(fault));
                self.fault == Some(fault) && state.chances.is_multiple_of(EVERY)
            })
        };
        std::thread::yield_now();
        done
    }
}

impl State {
    fn change(&mut self, ino: Ino, op: FileOp) {
        let content = self.files.entry(ino).or_default();
        let after = File::step(&content.now, &op).expect("a change");
        content.before = std::mem::replace(&mut content.now, after);
        let ever = content.now.len().max(content.ever.len());
        content.ever.resize(ever, 0);
        content.ever[..content.now.len()].copy_from_slice(&content.now);
    }

    fn rename<T>(&mut self, change: impl FnOnce(&mut BTreeMap<Place, Ino>) -> T) {
        self.names.before = self.names.now.clone();
        change(&mut self.names.now);
    }

    fn status(&self, ino: Ino) -> Outcome {
        let nlink = self.names.now.values().filter(|there| **there == ino).count();
        let size = (self.files[&ino].now.len() * CELL) as u64;
        Outcome::Status { ino, size, nlink: u32::try_from(nlink).unwrap() }
    }
}

type Strikes<'a> = &'a mut dyn FnMut(&mut State, Fault) -> bool;

fn open(state: &mut State, strikes: Strikes<'_>, at: Place, how: How) -> Result<Ino, Errno> {
    let mut there = state.names.now.get(&at).copied();
    let before = state.names.before.get(&at).copied();
    if before != there && before.is_some() && strikes(state, Fault::StaleEntry) {
        there = before;
    }
    if there.is_some() && strikes(state, Fault::StaleAbsence) {
        there = None;
    }
    let makes = matches!(how, How::Create | How::Exclusive | How::Truncate);
    if makes && there.is_some() && strikes(state, Fault::CreatedTwice) {
        there = None;
    }
    match there {
        Some(_) if how == How::Exclusive && !strikes(state, Fault::ExclusiveOpensWhatIsThere) => {
            Err(Errno::EXIST)
        }
        Some(ino) => {
            if how == How::Truncate {
                state.change(ino, FileOp::Cut { size: 0 });
            }
            Ok(ino)
        }
        None if makes => {
            let ino = state.files.len() as Ino + 1;
            state.files.insert(ino, Content::default());
            state.rename(|names| names.insert(at, ino));
            Ok(ino)
        }
        None => Err(Errno::NOENT),
    }
}

/// What is between the end and `size` is to be zeros.
fn grow(state: &mut State, strikes: Strikes<'_>, ino: Ino, size: usize) {
    let len = state.files[&ino].now.len();
    if len < size && strikes(state, Fault::OldBytesAfterGrowth) {
        let content = state.files.entry(ino).or_default();
        content.now.extend_from_slice(content.ever.get(len..size).unwrap_or(&[]));
    }
}

fn on_file(state: &mut State, strikes: Strikes<'_>, op: &Op, ino: Ino) -> Result<Outcome, Errno> {
    match op {
        Op::StatOpen { .. } => {
            let mut seen = state.status(ino);
            if let Outcome::Status { size, nlink, .. } = &mut seen {
                if strikes(state, Fault::StaleSize) {
                    *size = (state.files[&ino].before.len() * CELL) as u64;
                }
                let before = state.names.before.values().filter(|there| **there == ino).count();
                if strikes(state, Fault::StaleLinks) {
                    *nlink = u32::try_from(before).unwrap();
                }
            }
            return Ok(seen);
        }
        Op::Read { .. } => {
            let mut cells = state.files[&ino].now.clone();
            let before = state.files[&ino].before.clone();
            if strikes(state, Fault::StaleRead) {
                return Ok(Outcome::Cells(before));
            }
            if strikes(state, Fault::TornRead) {
                let half = cells.len().min(before.len()) / 2;
                cells[..half].copy_from_slice(&before[..half]);
            }
            return Ok(Outcome::Cells(cells));
        }
        Op::Write { at, len, tag, .. } => {
            let op = FileOp::Write { at: *at, len: *len, tag: *tag };
            let late = state.files.get_mut(&ino).and_then(|content| content.late.take());
            if !strikes(state, Fault::LostWrite) {
                grow(state, strikes, ino, *at);
                state.change(ino, op.clone());
            }
            late.into_iter().for_each(|late| state.change(ino, late));
            if strikes(state, Fault::RepeatedWrite) {
                state.files.entry(ino).or_default().late = Some(op);
            }
        }
        Op::Append { len, tag, .. } => {
            let at = match strikes(state, Fault::AppendAtOldEnd) {
                true => state.files[&ino].before.len(),
                false => state.files[&ino].now.len(),
            };
            state.change(ino, FileOp::Write { at, len: *len, tag: *tag });
        }
        Op::Cut { size, .. } => {
            if strikes(state, Fault::LostTruncation) {
                return Ok(Outcome::Done);
            }
            grow(state, strikes, ino, *size);
            state.change(ino, FileOp::Cut { size: *size });
        }
        Op::Link { to, .. } => {
            let gone = !state.names.now.values().any(|there| *there == ino);
            if state.names.now.contains_key(to) {
                return Err(Errno::EXIST);
            }
            if gone {
                return Err(Errno::NOENT);
            }
            state.rename(|names| names.insert(*to, ino));
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(Outcome::Done)
}

fn on_names(state: &mut State, strikes: Strikes<'_>, op: &Op) -> Result<Outcome, Errno> {
    match op {
        Op::Stat { at } => {
            let ino = open(state, strikes, *at, How::Read)?;
            return Ok(state.status(ino));
        }
        Op::List { dir } => {
            let names = match strikes(state, Fault::StaleListing) {
                true => &state.names.before,
                false => &state.names.now,
            };
            let in_it = names.iter().filter(|(place, _)| place.dir == *dir);
            return Ok(Outcome::Entries(in_it.map(|(place, ino)| (place.name, *ino)).collect()));
        }
        Op::Unlink { at } => {
            state.names.now.get(at).ok_or(Errno::NOENT)?;
            if !strikes(state, Fault::LostUnlink) {
                state.rename(|names| names.remove(at));
            }
        }
        Op::Rename { from, to } => {
            let ino = *state.names.now.get(from).ok_or(Errno::NOENT)?;
            if state.names.now.get(to) != Some(&ino) {
                let half = strikes(state, Fault::HalfRename);
                state.rename(|names| {
                    names.insert(*to, ino);
                    if !half {
                        names.remove(from);
                    }
                });
            }
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(Outcome::Done)
}

impl System for Memory {
    type File = Ino;

    fn open(&self, at: Place, how: How, _append: bool) -> Result<Ino, Errno> {
        self.with(|state, strikes| open(state, strikes, at, how))
    }

    fn ino(&self, file: &Ino) -> Result<Ino, Errno> {
        Ok(*file)
    }

    fn call(&self, op: &Op, file: Option<&Ino>) -> Result<Outcome, Errno> {
        self.with(|state, strikes| match file {
            Some(ino) => on_file(state, strikes, op, *ino),
            None => on_names(state, strikes, op),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::record::{Mix, Plan, record};
    use super::super::verdict::verdict;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn judged(fault: Option<Fault>, seed: u64) -> Result<(), super::super::Rejection> {
        let plan =
            Plan { mount: 0, first_thread: 1, threads: 9, calls_each: 56, seed, mix: Mix::All };
        let history = record(&Memory::new(fault), &plan, || ());
        assert!(history.len() >= 500, "{}", history.len());
        verdict(&history, LIMIT)
    }

    #[test]
    fn what_does_one_call_after_the_other_is_accepted() {
        for seed in 0..50 {
            judged(None, seed).unwrap_or_else(|rejection| panic!("seed {seed}: {rejection}"));
        }
    }

    #[test]
    fn every_fault_is_found() {
        for fault in Fault::ALL {
            let rejected = (0..10).filter(|seed| judged(Some(fault), *seed).is_err()).count();
            println!("{fault:?}: {rejected} of 10 histories");
            assert!(rejected > 0, "{fault:?} is never found");
        }
    }
}
