//! A directory of very many entries: listed while others make, remove and rename some, and again from places that were
//! told before.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{CWD, FileType, Mode, RawDir, SeekFrom, mknodat, seek};

use crate::{Cluster, Mount, eventually};

/// Threads that make or remove entries, half of them on each mount.
const THREADS: u64 = 16;
/// Bytes of entries that are asked for at once.
const BUFFER: usize = 32 << 10;
/// Places that are gone back to.
const PLACES: u64 = 200;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub entries: u64,
    pub seed: u64,
}

/// What took how long.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    parts: Vec<(&'static str, u64, Duration)>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count, took) in &self.parts {
            let rate = u128::from(*count) * 1000 / took.as_millis().max(1);
            writeln!(f, "{count} {what} in {:.1} s: {rate}/s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// What a name tells of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    /// There from the first listing to the last.
    Stays(u64),
    /// Removed during the first listing.
    Goes(u64),
    /// Renamed during it: from this name.
    Moves(u64),
    /// To this one.
    Moved(u64),
    /// Made during it.
    Comes(u64),
}

impl Name {
    /// Of the entries that are there at first: one in ten is removed later, one in ten renamed.
    fn first(number: u64) -> Name {
        match number % 10 {
            3 => Name::Goes(number),
            7 => Name::Moves(number),
            _ => Name::Stays(number),
        }
    }

    fn parse(name: &[u8]) -> Option<Name> {
        let (kind, number) = std::str::from_utf8(name).ok()?.split_once('-')?;
        let number = number.parse().ok()?;
        Some(match kind {
            "stays" => Name::Stays(number),
            "goes" => Name::Goes(number),
            "moves" => Name::Moves(number),
            "moved" => Name::Moved(number),
            "comes" => Name::Comes(number),
            _ => return None,
        })
    }

    fn below(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Name::Stays(number) => format!("stays-{number}"),
            Name::Goes(number) => format!("goes-{number}"),
            Name::Moves(number) => format!("moves-{number}"),
            Name::Moved(number) => format!("moved-{number}"),
            Name::Comes(number) => format!("comes-{number}"),
        })
    }
}

/// An open directory.
struct Listing {
    folder: File,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Listing {
    fn open(path: &Path) -> io::Result<Listing> {
        Ok(Listing { folder: File::open(path)?, buffer: vec![MaybeUninit::uninit(); BUFFER] })
    }

    /// The next entries, each with the place after it, as telldir(3) tells it; none at the end.
    fn next(&mut self) -> io::Result<Vec<(Name, u64)>> {
        let mut entries = Vec::new();
        let mut raw = RawDir::new(&self.folder, &mut self.buffer);
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let known = Name::parse(name);
                let known = known.unwrap_or_else(|| panic!("nobody made {:?}", entry.file_name()));
                entries.push((known, entry.next_entry_cookie()));
            }
            // One question to the kernel at a time; with dots alone in it, there is more to ask.
            if raw.is_buffer_empty() && !entries.is_empty() {
                break;
            }
        }
        Ok(entries)
    }

    /// As seekdir(3) does.
    fn seek(&self, place: u64) -> io::Result<()> {
        seek(&self.folder, SeekFrom::Start(place)).map(drop).map_err(io::Error::from)
    }

    fn all(&mut self) -> io::Result<Vec<(Name, u64)>> {
        let mut all = Vec::new();
        loop {
            let entries = self.next()?;
            if entries.is_empty() {
                return Ok(all);
            }
            all.extend(entries);
        }
    }
}

/// Panics if a listing lacks an entry, or has one twice, that was there throughout.
pub fn run(plan: Plan) -> Figures {
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let mounts = [cluster.mount("v"), cluster.mount("v")];
    std::fs::create_dir(mounts[0].join("d")).expect("make a folder");
    let folders = mounts.each_ref().map(|mount| mount.join("d"));
    let mut figures = Figures::default();
    let mut timed = |what, count, part: &mut dyn FnMut()| {
        let start = Instant::now();
        part();
        figures.parts.push((what, count, start.elapsed()));
        println!("{what}: {:?}", start.elapsed());
    };

    timed("made", plan.entries, &mut || {
        in_parallel(&folders, plan.entries, |folder, number| make(folder, Name::first(number)));
    });
    let mut first = Vec::new();
    timed("listed while others changed them", plan.entries, &mut || {
        first = list_while_changing(plan, &folders);
    });
    check_first(plan, &first);
    let mut last = Vec::new();
    timed("listed", plan.entries, &mut || {
        last = Listing::open(&folders[1]).and_then(|mut it| it.all()).expect("list");
    });
    check_last(plan, &last);
    go_back(plan, &folders[0], &first, &last);
    timed("removed", plan.entries, &mut || {
        in_parallel(&folders, plan.entries, |folder, number| {
            let after = match Name::first(number) {
                Name::Goes(number) => Name::Comes(number),
                Name::Moves(number) => Name::Moved(number),
                name => name,
            };
            std::fs::remove_file(after.below(folder))
        });
    });
    std::fs::remove_dir(&folders[0]).expect("the folder is empty");
    mounts.into_iter().for_each(Mount::unmount);
    cluster.assert_clean("v");
    figures
}

fn make(folder: &Path, name: Name) -> io::Result<()> {
    let made = mknodat(CWD, name.below(folder), FileType::RegularFile, Mode::RUSR, 0);
    made.map_err(io::Error::from)
}

/// Does `act` once for each number, from many threads on both mounts.
fn in_parallel(
    folders: &[PathBuf; 2],
    count: u64,
    act: impl Fn(&Path, u64) -> io::Result<()> + Sync,
) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (_, folder) in (0..THREADS).zip(folders.iter().cycle()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    act(folder, number).unwrap_or_else(|err| panic!("entry {number}: {err}"));
                }
            });
        }
    });
}

/// Lists on one mount. Meanwhile threads on both remove, rename and make entries, in an order of the seed's, and the
/// listing goes on only as they do: both end together.
fn list_while_changing(plan: Plan, folders: &[PathBuf; 2]) -> Vec<(Name, u64)> {
    let mut changes: Vec<Name> =
        (0..plan.entries).map(Name::first).filter(|name| !matches!(name, Name::Stays(_))).collect();
    let mut random = StdRng::seed_from_u64(plan.seed);
    for at in (1..changes.len()).rev() {
        changes.swap(at, random.random_range(0..=at));
    }
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut listing = Listing::open(&folders[0]).expect("open the folder");
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let (changes, done, failed) = (&changes, &done, &failed);
        scope.spawn(move || {
            let count = changes.len() as u64;
            let alarm = Alarm(failed);
            in_parallel(folders, count, |folder, at| {
                let index = usize::try_from(at).map_err(io::Error::other)?;
                change(folder, changes[index])?;
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            std::mem::forget(alarm);
        });
        loop {
            let entries = listing.next().expect("list");
            if entries.is_empty() {
                break;
            }
            all.extend(entries);
            let due = (all.len() as u64) * changes.len() as u64 / (plan.entries * 2);
            eventually("the changes go on", || {
                done.load(Ordering::Relaxed) >= due || failed.load(Ordering::Relaxed)
            });
        }
    });
    all
}

/// Tells, when its thread panics, that nobody need wait for it.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn change(folder: &Path, name: Name) -> io::Result<()> {
    match name {
        Name::Goes(number) => {
            std::fs::remove_file(name.below(folder))?;
            make(folder, Name::Comes(number))
        }
        Name::Moves(number) => {
            std::fs::rename(name.below(folder), Name::Moved(number).below(folder))
        }
        _ => Ok(()),
    }
}

fn counted(listed: &[(Name, u64)]) -> HashMap<Name, u32> {
    let mut counts = HashMap::new();
    for (name, _) in listed {
        *counts.entry(*name).or_default() += 1;
    }
    counts
}

fn check_first(plan: Plan, listed: &[(Name, u64)]) {
    let counts = counted(listed);
    for number in 0..plan.entries {
        let name = Name::first(number);
        let count = counts.get(&name).copied().unwrap_or(0);
        match name {
            Name::Stays(_) => assert_eq!(count, 1, "{name:?}, {plan:?}"),
            _ => assert!(count <= 1, "{name:?}, {plan:?}"),
        }
    }
    assert!(counts.values().all(|&count| count == 1), "a name is listed twice, {plan:?}");
}

fn check_last(plan: Plan, listed: &[(Name, u64)]) {
    let counts = counted(listed);
    for number in 0..plan.entries {
        let name = match Name::first(number) {
            Name::Goes(number) => Name::Comes(number),
            Name::Moves(number) => Name::Moved(number),
            name => name,
        };
        assert_eq!(counts.get(&name), Some(&1), "{name:?}, {plan:?}");
    }
    assert_eq!(listed.len() as u64, plan.entries, "{plan:?}");
}

/// From a place that was told during the first listing, what stayed comes in the same order.
fn go_back(plan: Plan, folder: &Path, first: &[(Name, u64)], last: &[(Name, u64)]) {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut listing = Listing::open(folder).expect("open the folder");
    let stays = |entries: &[(Name, u64)]| {
        entries.iter().map(|(name, _)| *name).find(|name| matches!(name, Name::Stays(_)))
    };
    for _ in 0..PLACES {
        let at = random.random_range(0..first.len());
        listing.seek(first[at].1).expect("seek");
        let mut found = None;
        while found.is_none() {
            let entries = listing.next().expect("list");
            if entries.is_empty() {
                break;
            }
            found = stays(&entries);
        }
        assert_eq!(found, stays(&first[at + 1..]), "after {:?}, {plan:?}", first[at]);
    }
    listing.seek(0).expect("seek");
    assert!(listing.all().expect("list") == last, "the listing from the start differs, {plan:?}");
}
