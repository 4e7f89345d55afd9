//! Directories that do one thing after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Ino, Place};
use super::search::Model;

#[derive(Debug)]
pub(super) struct Directories;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameOp {
    Leads {
        at: Place,
        ino: Ino,
    },
    IsAbsent {
        at: Place,
    },
    IsThere {
        at: Place,
    },
    Lists {
        dir: u8,
        entries: BTreeMap<u8, Ino>,
    },
    HasLinks {
        ino: Ino,
        count: u32,
    },
    /// It finds what is there unless it is exclusive.
    Make {
        at: Place,
        made: Made,
        exclusive: bool,
    },
    Unlink {
        at: Place,
    },
    Rename {
        from: Place,
        to: Place,
    },
    Link {
        ino: Ino,
        to: Place,
    },
    /// What is never right.
    Odd,
}

/// A file that is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Made {
    Ino(Ino),
    /// By a call that was cut off; nobody has seen yet which it is.
    By(usize),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Names {
    at: BTreeMap<Place, Made>,
    /// All that ever had a name: no file is made twice.
    known: BTreeSet<Ino>,
}

impl Names {
    /// Somebody has seen which file is there. `None`: another one is.
    fn seen(mut self, at: Place, ino: Ino) -> Option<Self> {
        match *self.at.get(&at)? {
            Made::Ino(there) => (there == ino).then_some(self),
            made @ Made::By(_) => {
                self.known.insert(ino).then_some(())?;
                self.at.values_mut().filter(|there| **there == made).for_each(|there| {
                    *there = Made::Ino(ino);
                });
                Some(self)
            }
        }
    }

    fn make(mut self, at: Place, made: Made) -> Option<Self> {
        if let Made::Ino(ino) = made {
            self.known.insert(ino).then_some(())?;
        }
        self.at.insert(at, made);
        Some(self)
    }

    fn links(&self, ino: Ino) -> usize {
        self.at.values().filter(|there| **there == Made::Ino(ino)).count()
    }
}

impl Model for Directories {
    type Op = NameOp;
    type State = Names;

    fn step(names: &Names, op: &NameOp) -> Option<Names> {
        let there = |at: &Place| names.at.contains_key(at);
        let same = || names.clone();
        match op {
            NameOp::Leads { at, ino } => same().seen(*at, *ino),
            NameOp::IsAbsent { at } => (!there(at)).then(same),
            NameOp::IsThere { at } => there(at).then(same),
            NameOp::Lists { dir, entries } => {
                let in_it = names.at.keys().filter(|place| place.dir == *dir);
                (in_it.count() == entries.len()).then_some(())?;
                let place = |name: u8| Place { dir: *dir, name };
                entries.iter().try_fold(same(), |names, (name, ino)| names.seen(place(*name), *ino))
            }
            NameOp::HasLinks { ino, count } => (names.links(*ino) == *count as usize).then(same),
            NameOp::Make { at, made, exclusive } => match (there(at), made) {
                (false, _) => same().make(*at, *made),
                (true, _) if *exclusive => None,
                (true, Made::Ino(ino)) => same().seen(*at, *ino),
                (true, Made::By(_)) => Some(same()),
            },
            NameOp::Unlink { at } => {
                let mut names = same();
                names.at.remove(at).map(|_| names)
            }
            NameOp::Rename { from, to } => {
                let mut names = same();
                let moved = *names.at.get(from)?;
                // Of two names of one file none goes.
                if names.at.get(to) != Some(&moved) {
                    names.at.remove(from);
                    names.at.insert(*to, moved);
                }
                Some(names)
            }
            NameOp::Link { ino, to } => {
                let mut names = same();
                (!there(to) && names.links(*ino) > 0).then_some(())?;
                names.at.insert(*to, Made::Ino(*ino));
                Some(names)
            }
            NameOp::Odd => None,
        }
    }

    fn only_looks(op: &NameOp) -> bool {
        use NameOp::{HasLinks, IsAbsent, IsThere, Leads, Lists, Odd};
        matches!(
            op,
            Leads { .. } | IsAbsent { .. } | IsThere { .. } | Lists { .. } | HasLinks { .. } | Odd
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Place = Place { dir: 0, name: 0 };
    const B: Place = Place { dir: 0, name: 1 };
    const C: Place = Place { dir: 1, name: 0 };

    fn make(at: Place, ino: Ino) -> NameOp {
        NameOp::Make { at, made: Made::Ino(ino), exclusive: false }
    }

    fn lists(dir: u8, entries: &[(u8, Ino)]) -> NameOp {
        NameOp::Lists { dir, entries: entries.iter().copied().collect() }
    }

    /// All but the last are possible; it is if `last`.
    #[track_caller]
    fn check(ops: &[NameOp], last: bool) {
        let mut names = Some(Names::default());
        for (index, op) in ops.iter().enumerate() {
            names = Directories::step(&names.unwrap(), op);
            assert_eq!(names.is_some(), last || index + 1 < ops.len(), "{op:?}");
        }
    }

    #[test]
    fn names_lead_to_files() {
        check(&[make(A, 1), NameOp::Leads { at: A, ino: 1 }], true);
        check(&[make(A, 1), NameOp::Leads { at: A, ino: 2 }], false);
        check(&[make(A, 1), make(A, 1), lists(0, &[(0, 1)]), lists(1, &[])], true);
        check(&[make(A, 1), NameOp::IsAbsent { at: A }], false);
        check(&[NameOp::IsThere { at: A }], false);
        check(&[make(A, 1), NameOp::Make { at: A, made: Made::Ino(2), exclusive: true }], false);
        check(&[make(A, 1), lists(0, &[])], false);
        check(&[make(A, 1), lists(0, &[(0, 1), (1, 2)])], false);
        check(&[NameOp::Odd], false);
    }

    #[test]
    fn what_was_removed_never_comes_back() {
        check(&[make(A, 1), NameOp::Unlink { at: A }, NameOp::IsAbsent { at: A }], true);
        check(&[make(A, 1), NameOp::Unlink { at: A }, NameOp::Unlink { at: A }], false);
        check(&[make(A, 1), NameOp::Unlink { at: A }, make(A, 1)], false);
        let link = NameOp::Link { ino: 1, to: B };
        check(&[make(A, 1), NameOp::Unlink { at: A }, link], false);
    }

    #[test]
    fn a_file_has_as_many_links_as_names() {
        let links = |count| NameOp::HasLinks { ino: 1, count };
        let link = NameOp::Link { ino: 1, to: B };
        let rename = NameOp::Rename { from: A, to: B };
        check(&[make(A, 1), links(1), link.clone(), links(2)], true);
        check(&[make(A, 1), link.clone(), NameOp::Unlink { at: A }, links(1)], true);
        check(&[make(A, 1), link.clone(), rename, links(2), NameOp::IsThere { at: A }], true);
        check(&[make(A, 1), make(B, 2), link], false);
    }

    #[test]
    fn a_rename_moves_and_replaces() {
        let rename = NameOp::Rename { from: A, to: C };
        let gone = NameOp::HasLinks { ino: 2, count: 0 };
        check(&[make(A, 1), make(C, 2), rename.clone(), gone, lists(0, &[])], true);
        check(&[make(A, 1), rename.clone(), NameOp::Leads { at: C, ino: 1 }], true);
        check(&[make(C, 1), rename], false);
    }

    #[test]
    fn what_a_call_that_was_cut_off_has_made_is_one_new_file() {
        let unseen = NameOp::Make { at: A, made: Made::By(0), exclusive: false };
        let rename = NameOp::Rename { from: A, to: B };
        let leads = |at, ino| NameOp::Leads { at, ino };
        check(&[unseen.clone(), leads(A, 7), rename.clone(), leads(B, 7)], true);
        check(&[unseen.clone(), rename, lists(0, &[(1, 7)]), leads(B, 8)], false);
        check(&[make(B, 7), unseen.clone(), leads(A, 7)], false);
        check(&[make(A, 7), unseen, leads(A, 7)], true);
    }
}
