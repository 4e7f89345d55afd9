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

/// What is at a path, mostly: whatever else there is is tried, too, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Something,
    File,
    Folder,
    NoFolder,
    /// In a directory that is there.
    Nothing,
}

impl There {
    fn is_at(self, view: &View, path: &str) -> bool {
        let kind = |path: &str| {
            rustix::fs::lstat(view.at(path)).map(|of| FileType::from_raw_mode(of.st_mode))
        };
        let folder = || path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match (self, kind(path)) {
            (There::Nothing, Err(_)) => kind(folder()) == Ok(FileType::Directory),
            (There::Something, Ok(_)) | (There::File, Ok(FileType::RegularFile)) => true,
            (There::Folder, Ok(kind)) => kind == FileType::Directory,
            (There::NoFolder, Ok(kind)) => kind != FileType::Directory,
            _ => false,
        }
    }
}

fn path(random: &mut StdRng, view: &View, there: There) -> &'static str {
    let mut path = one(random, &PATHS);
    for _ in 0..12 {
        if there.is_at(view, path) {
            break;
        }
        path = one(random, &PATHS);
    }
    path
}

fn slot(random: &mut StdRng, view: &View) -> usize {
    let mut slot = random.random_range(0..SLOTS);
    for _ in 0..6 {
        if view.held_file(slot).is_ok() {
            break;
        }
        slot = random.random_range(0..SLOTS);
    }
    slot
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
    let file = path(random, view, There::File);
    let free = path(random, view, There::Nothing);
    match random.random_range(0..100) {
        0..14 => {
            let any = one(random, &PATHS);
            let path = one(random, &[file, free, any]);
            Act::Write { path, through: Through::Create, bytes: bytes(random) }
        }
        14..30 => {
            let through = [Through::Range, Through::Append, Through::Direct, Through::Mapping];
            Act::Write { path: file, through: one(random, &through), bytes: bytes(random) }
        }
        30..34 => Act::Truncate { path: file, size: position(random) },
        34..36 => Act::Punch { path: file, at: position(random), len: 5_000 },
        36..38 => Act::Allocate { path: file, at: position(random), len: 5_000 },
        38..40 => Act::Exclusive { path: free },
        40..48 => {
            let usual = one(random, &FOLDERS);
            Act::Mkdir { path: one(random, &[free, usual]) }
        }
        48..50 => {
            let kind = one(random, &[FileType::Fifo, FileType::Socket]);
            Act::Mknod { path: free, kind }
        }
        50..53 => {
            Act::Symlink { target: one(random, &["a", "b", "d", "../a", "none"]), path: free }
        }
        53..57 => Act::Link { from: path(random, view, There::NoFolder), to: free },
        57..63 => Act::Unlink { path: path(random, view, There::NoFolder) },
        63..66 => Act::Rmdir { path: path(random, view, There::Folder) },
        66..76 => rename(random, view),
        other => act_on_inode(random, other, view),
    }
}

fn rename(random: &mut StdRng, view: &View) -> Act {
    let (there, free) = (There::Something, There::Nothing);
    let moved = one(random, &[there, There::Folder, There::NoFolder]);
    let from = path(random, view, moved);
    let (to, flags) = match random.random_range(0..10) {
        0..3 => (there, RenameFlags::EXCHANGE),
        3 => (one(random, &[there, free]), RenameFlags::NOREPLACE),
        4..7 => (one(random, &[there, There::NoFolder]), RenameFlags::empty()),
        _ => (free, RenameFlags::empty()),
    };
    Act::Rename { from, to: path(random, view, to), flags }
}

fn act_on_inode(random: &mut StdRng, number: u32, view: &View) -> Act {
    let path = path(random, view, There::Something);
    let slot = slot(random, view);
    let mode = one(random, &[0o600, 0o644, 0o640, 0o755, 0o711, 0o777, 0o000]);
    let name = one(random, &ATTRIBUTES);
    match number {
        76..79 => Act::Chmod { path, mode },
        79..81 => Act::Chown { path, uid: one(random, &[0, 12_345]), gid: one(random, &[0, 7]) },
        81 => Act::SetMtime { path, seconds: random.random_range(0..2_000_000_000) },
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
        // Nothing is kept of those.
        94 if view.holds_removed_folder(slot) => Act::LetGo { slot },
        94 => Act::HeldChmod { slot, mode },
        95..99 => Act::Hold { slot: random.random_range(0..SLOTS), path },
        _ => Act::LetGo { slot },
    }
}

/// At what is changed, around it, by its other names, and aside.
pub(super) fn looks(random: &mut StdRng, act: &Act, view: &View) -> Vec<Look> {
    let inode = |path: &str| rustix::fs::stat(view.at(path)).map(|of| of.st_ino).ok();
    let is_near = |path: &str, other: &str| {
        is_above_or_below(path, other) || inode(path).is_some_and(|ino| inode(other) == Some(ino))
    };
    let mut places: Vec<usize> = (0..PATHS.len())
        .filter(|at| act.paths().iter().any(|path| is_near(path, PATHS[*at])))
        .collect();
    places.extend((0..ASIDE).map(|_| random.random_range(0..PATHS.len())));
    let mut looks = Vec::new();
    for at in places {
        let count = random.random_range(1..=LOOKS);
        looks.extend((0..count).map(|_| Look { way: one(random, &Way::AT), at }));
    }
    for at in (0..SLOTS).filter(|slot| view.held(*slot).is_ok()) {
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
fn is_above_or_below(path: &str, other: &str) -> bool {
    let below = |path: &str, folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    path == other || below(other, path) || below(path, other)
}
