//! Random operations that often meet each other.

use rand::rngs::StdRng;
use rand::{RngExt, seq::IndexedRandom};

use super::model::Model;
use super::op::{Flags, Kind, Onto, Op, Ranges, Room, Slot, Sought, XattrMode};
use crate::lock::Take;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "a name with spaces and ünïcode"];
const SLOTS: usize = 8;
/// Beyond this more is removed than made.
const NODES_MAX: usize = 60;
const SIZE_MAX: u64 = 300_000;
const MODES: [u32; 9] = [0o644, 0o600, 0o755, 0o777, 0o1777, 0o000, 0o4755, 0o2755, 0o6644];
const OWNERS: [Option<u32>; 4] = [None, Some(0), Some(1000), Some(2000)];
const XATTRS: [&str; 3] = ["user.one", "user.two", "user.a.longer.name"];

pub(super) fn draw(random: &mut StdRng, model: &Model) -> Op {
    let open = model.open_slots();
    if !open.is_empty() && random.random_bool(0.5) {
        let slot = *open.choose(random).expect("not empty");
        return on_open_file(random, model, slot);
    }
    if model.len() > NODES_MAX && random.random_bool(0.5) {
        let path = path(random, model);
        return if random.random_bool(0.5) { Op::Rmdir { path } } else { Op::Unlink { path } };
    }
    on_path(random, model)
}

pub(super) fn on_open_file(random: &mut StdRng, model: &Model, slot: Slot) -> Op {
    if model.is_file(slot) && random.random_bool(0.35) {
        return Op::Ranges { slot, act: on_ranges(random, model, slot) };
    }
    let size = model.size_of(slot);
    match random.random_range(0..20) {
        0..=6 => {
            let len = length(random);
            Op::Write { slot, offset: offset(random, size), len, fill: random.random() }
        }
        7..=12 => Op::Read { slot, offset: offset(random, size), len: length(random) },
        13 | 14 => Op::Resize { slot, size: offset(random, size) },
        15 | 16 => Op::StatOpen { slot },
        17 => Op::Sync { slot, data_only: random.random_bool(0.5) },
        _ => Op::Close { slot },
    }
}

/// Room, holes, copies and locks: of files only.
fn on_ranges(random: &mut StdRng, model: &Model, slot: Slot) -> Ranges {
    let size = model.size_of(slot);
    match random.random_range(0..20) {
        0..=5 => {
            let len = length(random) as u64;
            Ranges::Allocate { offset: offset(random, size), len, room: room(random) }
        }
        6..=9 => {
            let files = model.open_slots().into_iter().filter(|slot| model.is_file(*slot));
            let files: Vec<_> = files.collect();
            let from = *files.choose(random).expect("there is one");
            let from_offset = offset(random, model.size_of(from));
            let to_offset = offset(random, size);
            Ranges::CopyFrom { from, from_offset, to_offset, len: length(random) }
        }
        10..=13 => {
            let sought = if random.random() { Sought::Data } else { Sought::Hole };
            Ranges::Seek { offset: offset(random, size), sought }
        }
        14..=17 => {
            let take = match random.random_range(0..3) {
                0 => Take::Shared,
                1 => Take::Exclusive,
                _ => Take::Unlock,
            };
            let (start, len) = locked(random);
            Ranges::Lock { take, start, len }
        }
        _ => {
            let (start, len) = locked(random);
            Ranges::TestLock { start, len }
        }
    }
}

/// Few bytes, so that locks meet each other.
pub(super) fn locked(random: &mut StdRng) -> (u64, u64) {
    (random.random_range(0..20), random.random_range(0..10))
}

fn room(random: &mut StdRng) -> Room {
    let rooms = [Room::Take, Room::TakeKeepSize, Room::Punch, Room::Zero, Room::ZeroKeepSize];
    *rooms.choose(random).expect("not empty")
}

fn on_path(random: &mut StdRng, model: &Model) -> Op {
    let path = path(random, model);
    let mode = *MODES.choose(random).expect("not empty");
    match random.random_range(0..42) {
        0..=8 => Op::Open { slot: slot(random, model), flags: flags(random), mode, path },
        9..=12 => Op::Mkdir { path, mode },
        13 | 14 => Op::Rmdir { path },
        15..=17 => Op::Unlink { path },
        18..=21 => Op::Rename { from: path, to: self::path(random, model), onto: onto(random) },
        22 | 23 => Op::Link { from: path, to: self::path(random, model) },
        24 | 25 => Op::Symlink { target: fresh_path(random), path },
        26 => Op::Readlink { path },
        27..=30 => Op::Stat { path, follow: random.random_bool(0.7) },
        31 | 32 => Op::List { path },
        33 => Op::Chmod { path, mode },
        34 => {
            let seconds = random.random_range(0..4_000_000_000);
            Op::SetMtime { path, seconds, nanos: random.random_range(0..1_000_000_000) }
        }
        35 => Op::Truncate { path, size: random.random_range(0..SIZE_MAX) },
        36 => {
            let len = random.random_range(0..200);
            let value = (0..len).map(|_| random.random()).collect();
            Op::SetXattr { path, name: xattr(random), value, mode: xattr_mode(random) }
        }
        37 => Op::GetXattr { path, name: xattr(random) },
        38 => Op::ListXattr { path },
        39 | 40 => chown(random, path),
        _ => Op::RemoveXattr { path, name: xattr(random) },
    }
}

fn chown(random: &mut StdRng, path: String) -> Op {
    let uid = *OWNERS.choose(random).expect("not empty");
    // Through FUSE a change of neither is none at all.
    let gid = *OWNERS[usize::from(uid.is_none())..].choose(random).expect("not empty");
    Op::Chown { path, uid, gid, follow: random.random_bool(0.7) }
}

/// One that is free, or else one that must be closed first.
fn slot(random: &mut StdRng, model: &Model) -> Slot {
    let open = model.open_slots();
    let free = (0..SLOTS).find(|slot| !open.contains(slot));
    free.unwrap_or_else(|| random.random_range(0..SLOTS))
}

fn flags(random: &mut StdRng) -> Flags {
    let write = random.random_bool(0.7);
    let directory = random.random_bool(0.05);
    // The kernel refuses both at once before a file system is asked.
    let create = !directory && random.random_bool(0.6);
    Flags {
        read: !write || random.random_bool(0.8),
        write,
        create,
        exclusive: create && random.random_bool(0.3),
        truncate: write && random.random_bool(0.2),
        append: write && random.random_bool(0.2),
        no_follow: random.random_bool(0.1),
        directory,
    }
}

fn onto(random: &mut StdRng) -> Onto {
    match random.random_range(0..6) {
        0 => Onto::NoReplace,
        1 => Onto::Exchange,
        _ => Onto::Replace,
    }
}

fn xattr(random: &mut StdRng) -> String {
    (*XATTRS.choose(random).expect("not empty")).to_owned()
}

fn xattr_mode(random: &mut StdRng) -> XattrMode {
    match random.random_range(0..4) {
        0 => XattrMode::Create,
        1 => XattrMode::Replace,
        _ => XattrMode::Any,
    }
}

/// Mostly one that is there.
fn path(random: &mut StdRng, model: &Model) -> String {
    let known = model.paths();
    if !known.is_empty() && random.random_bool(0.55) {
        return known.choose(random).expect("not empty").0.clone();
    }
    let directories = known.iter().filter(|(_, kind)| *kind != Kind::File);
    let directories: Vec<_> = directories.map(|(path, _)| path.as_str()).collect();
    match directories.choose(random) {
        Some(directory) if random.random_bool(0.6) => format!("{directory}/{}", name(random)),
        _ => fresh_path(random),
    }
}

fn fresh_path(random: &mut StdRng) -> String {
    let depth = random.random_range(1..4);
    let names: Vec<_> = (0..depth).map(|_| name(random)).collect();
    names.join("/")
}

fn name(random: &mut StdRng) -> String {
    match random.random_range(0..100) {
        0 => "n".repeat(255),
        1 => "n".repeat(256),
        _ => (*NAMES.choose(random).expect("not empty")).to_owned(),
    }
}

/// Near the edges of pages, blocks and stripes, and near the end.
fn offset(random: &mut StdRng, size: u64) -> u64 {
    let edge = [4096, 16_384, 65_536, 131_072][random.random_range(0..4)];
    let base = match random.random_range(0..4) {
        0 => 0,
        1 => size,
        2 => random.random_range(0..=SIZE_MAX / edge) * edge,
        _ => random.random_range(0..SIZE_MAX),
    };
    (base + random.random_range(0..5)).saturating_sub(random.random_range(0..5)).min(SIZE_MAX)
}

fn length(random: &mut StdRng) -> usize {
    match random.random_range(0..4) {
        0 => random.random_range(0..16),
        1 => 4096,
        2 => random.random_range(0..10_000),
        _ => random.random_range(0..80_000),
    }
}
