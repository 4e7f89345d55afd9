//! Random choices: what is changed, and how that is looked at.

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::fs::{FileType, RenameFlags};

use super::act::{Act, Bytes, Through};
use super::look::{ATTRIBUTES, Look, Way};
use super::view::{FOLDERS, PATHS, SLOTS, View};

/// Longest range that is written, and where it begins at most: over several stripes of 4 KiB.
const LEN_MAX: usize = 9_000;
const AT_MAX: u64 = 20_000;
/// Looks at each path or slot that is of interest, and at paths that may have nothing to do with the change.
const LOOKS: usize = 4;
const ASIDE: usize = 3;

pub(super) fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

pub(super) fn shuffled<T>(random: &mut StdRng, mut what: Vec<T>) -> Vec<T> {
    for at in (1..what.len()).rev() {
        what.swap(at, random.random_range(0..=at));
    }
    what
}

/// A path at which there mostly is something, or mostly is nothing.
fn path(random: &mut StdRng, view: &View, taken: bool) -> &'static str {
    let mut path = one(random, &PATHS);
    for _ in 0..6 {
        if rustix::fs::lstat(view.at(path)).is_ok() == taken {
            break;
        }
        path = one(random, &PATHS);
    }
    path
}

fn position(random: &mut StdRng) -> u64 {
    let at = random.random_range(0..AT_MAX);
    if random.random() { at & !4095 } else { at }
}

fn bytes(random: &mut StdRng) -> Bytes {
    let len = random.random_range(1..LEN_MAX);
    let len = if random.random() { len.next_multiple_of(4096) } else { len };
    Bytes { at: position(random), len, fill: random.random_range(1..=255) }
}

/// `view`: where it can be seen what there is.
pub(super) fn act(random: &mut StdRng, view: &View) -> Act {
    let slot = random.random_range(0..SLOTS);
    let there = path(random, view, true);
    let free = path(random, view, false);
    let any = one(random, &PATHS);
    match random.random_range(0..100) {
        0..18 => Act::Write { path: any, through: Through::Create, bytes: bytes(random) },
        18..34 => {
            let through = [Through::Range, Through::Append, Through::Direct, Through::Mapping];
            Act::Write { path: there, through: one(random, &through), bytes: bytes(random) }
        }
        34..39 => Act::Truncate { path: there, size: position(random) },
        39..41 => Act::Punch { path: there, at: position(random), len: 5_000 },
        41..43 => Act::Allocate { path: there, at: position(random), len: 5_000 },
        43..45 => Act::Exclusive { path: free },
        45..51 => Act::Mkdir { path: if random.random() { free } else { one(random, &FOLDERS) } },
        51..53 => {
            let kind = one(random, &[FileType::Fifo, FileType::Socket]);
            Act::Mknod { path: free, kind }
        }
        53..56 => {
            Act::Symlink { target: one(random, &["a", "b", "d", "../a", "none"]), path: free }
        }
        56..60 => Act::Link { from: there, to: free },
        60..64 => Act::Unlink { path: there },
        64..66 => Act::Rmdir { path: there },
        66..75 => rename(random, view, there),
        other => act_on_inode(random, other, there, slot),
    }
}

fn rename(random: &mut StdRng, view: &View, from: &'static str) -> Act {
    let (to, flags) = match random.random_range(0..10) {
        0..3 => (path(random, view, true), RenameFlags::EXCHANGE),
        3 => (path(random, view, true), RenameFlags::NOREPLACE),
        4..7 => (path(random, view, true), RenameFlags::empty()),
        _ => (path(random, view, false), RenameFlags::empty()),
    };
    Act::Rename { from, to, flags }
}

fn act_on_inode(random: &mut StdRng, number: u32, path: &'static str, slot: usize) -> Act {
    let mode = one(random, &[0o600, 0o644, 0o640, 0o755, 0o711, 0o777, 0o000]);
    let name = one(random, &ATTRIBUTES);
    match number {
        75..78 => Act::Chmod { path, mode },
        78..80 => Act::Chown { path, uid: one(random, &[0, 12_345]), gid: one(random, &[0, 7]) },
        80..82 => Act::SetMtime { path, seconds: random.random_range(0..2_000_000_000) },
        82..85 => {
            let value = vec![random.random(); random.random_range(0..20)];
            Act::SetAttribute { path, name, value }
        }
        85..87 => Act::RemoveAttribute { path, name },
        87..89 => {
            let list = usize::from(random.random_ratio(1, 4));
            let (user, mask) = (one(random, &[0, 4, 6, 7]), one(random, &[0, 4, 7]));
            Act::SetList { path, list, user, mask }
        }
        89..92 => Act::HeldWrite { slot, bytes: bytes(random) },
        92..94 => Act::HeldResize { slot, size: position(random) },
        94 => Act::HeldChmod { slot, mode },
        95..99 => Act::Hold { slot, path },
        _ => Act::LetGo { slot },
    }
}

/// At what is changed, around it, and aside.
pub(super) fn looks(random: &mut StdRng, act: &Act) -> Vec<Look> {
    let mut places: Vec<usize> = (0..PATHS.len())
        .filter(|at| act.paths().iter().any(|path| is_near(path, PATHS[*at])))
        .collect();
    places.extend((0..ASIDE).map(|_| random.random_range(0..PATHS.len())));
    let mut looks = Vec::new();
    for at in places {
        let count = random.random_range(1..=LOOKS);
        looks.extend((0..count).map(|_| Look { way: one(random, &Way::AT), at }));
    }
    for at in 0..SLOTS {
        looks.push(Look { way: one(random, &Way::HELD), at });
    }
    // Where a change of the ctime is to be seen.
    if let Some(at) = act.dates().and_then(|path| PATHS.iter().position(|one| *one == path)) {
        looks.push(Look { way: Way::Times, at });
    }
    looks.sort();
    looks.dedup();
    looks
}

/// The path itself, its parent, and what is below.
fn is_near(path: &str, other: &str) -> bool {
    let below = |path: &str, folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    path == other || below(other, path) || below(path, other)
}
