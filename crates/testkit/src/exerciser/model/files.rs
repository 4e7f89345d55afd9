//! Open files and their bytes.

use super::{Content, Id, Model, Open, Result};
use crate::exerciser::locked::range;
use crate::exerciser::op::{Flags, Kind, Outcome, Ranges, Room, Slot, Sought, Stat};
use crate::lock::Take;

/// Holes are told in such blocks.
const BLOCK: u64 = 4096;

impl Model {
    pub(super) fn open(
        &mut self,
        slot: Slot,
        path: &str,
        flags: Flags,
        mode: u32,
    ) -> Result<Outcome> {
        let follow = !(flags.no_follow || flags.create && flags.exclusive);
        let place = self.walk(path, follow)?;
        let id = match place.node {
            None if flags.create => self.add(&place, Content::File(Vec::new()), mode),
            None => return Err(libc::ENOENT),
            Some(_) if flags.create && flags.exclusive => return Err(libc::EEXIST),
            Some(id) => id,
        };
        match self.nodes[&id].kind() {
            Kind::Symlink if flags.directory => return Err(libc::ENOTDIR),
            Kind::Symlink => return Err(libc::ELOOP),
            Kind::Directory if flags.create || flags.write || flags.truncate => {
                return Err(libc::EISDIR);
            }
            Kind::File if flags.directory => return Err(libc::ENOTDIR),
            _ => {}
        }
        if flags.truncate {
            self.resize(id, 0)?;
        }
        self.open.insert(slot, Open { id, flags });
        Ok(Outcome::Done)
    }

    pub(super) fn read(&self, slot: Slot, offset: u64, len: usize) -> Result<Outcome> {
        let open = self.open[&slot];
        if !open.flags.read {
            return Err(libc::EBADF);
        }
        let Content::File(data) = &self.nodes[&open.id].content else { return Err(libc::EISDIR) };
        let start = usize::try_from(offset).expect("small").min(data.len());
        Ok(Outcome::Bytes(data[start..data.len().min(start + len)].to_vec()))
    }

    pub(super) fn write(
        &mut self,
        slot: Slot,
        offset: u64,
        len: usize,
        fill: u8,
    ) -> Result<Outcome> {
        let open = self.open[&slot];
        if !open.flags.write {
            return Err(libc::EBADF);
        }
        let node = self.opened_mut(slot);
        let Content::File(data) = &mut node.content else { return Err(libc::EBADF) };
        let start =
            if open.flags.append { data.len() } else { usize::try_from(offset).expect("small") };
        if len > 0 {
            if data.len() < start + len {
                data.resize(start + len, 0);
            }
            data[start..start + len].copy_from_slice(&filling(len, fill));
            node.mtime = None;
        }
        Ok(Outcome::Count(len))
    }

    pub(super) fn resize(&mut self, id: Id, size: u64) -> Result<Outcome> {
        let node = self.nodes.get_mut(&id).expect("it was found");
        let Content::File(data) = &mut node.content else { return Err(libc::EINVAL) };
        data.resize(usize::try_from(size).expect("small"), 0);
        node.mtime = None;
        Ok(Outcome::Done)
    }

    pub(super) fn stat(&self, id: Id) -> Outcome {
        let node = &self.nodes[&id];
        Outcome::Stat(Stat {
            kind: node.kind(),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            nlink: node.nlink,
            size: node.size(),
            ino: id,
            mtime: node.mtime,
        })
    }

    pub(super) fn list(&self, path: &str) -> Result<Outcome> {
        let id = self.walk(path, true)?.found()?;
        let Content::Directory { entries, .. } = &self.nodes[&id].content else {
            return Err(libc::ENOTDIR);
        };
        let shown = entries.iter().map(|(name, id)| (name.clone(), self.nodes[id].kind()));
        Ok(Outcome::Entries(shown.collect()))
    }

    pub(super) fn on_ranges(&mut self, slot: Slot, act: &Ranges) -> Result<Outcome> {
        match act {
            Ranges::Allocate { offset, len, room } => self.allocate(slot, *offset, *len, *room),
            Ranges::CopyFrom { from, from_offset, to_offset, len } => {
                self.copy((*from, *from_offset), (slot, *to_offset), *len)
            }
            Ranges::Seek { offset, sought } => self.seek(slot, *offset, *sought),
            Ranges::Lock { take, start, len } => self.lock(slot, *take, *start, *len),
            Ranges::TestLock { start, len } => {
                let range = range(*start, *len);
                Ok(Outcome::Locked(self.opened(slot).locks.conflicts(slot, &range, true)))
            }
        }
    }

    fn allocate(&mut self, slot: Slot, offset: u64, len: u64, room: Room) -> Result<Outcome> {
        if len == 0 {
            return Err(libc::EINVAL);
        }
        if !self.open[&slot].flags.write {
            return Err(libc::EBADF);
        }
        let node = self.opened_mut(slot);
        let Content::File(data) = &mut node.content else { return Err(libc::EISDIR) };
        node.mtime = None;
        let [start, end] = [offset, offset + len].map(|at| usize::try_from(at).expect("small"));
        if matches!(room, Room::Take | Room::Zero) && data.len() < end {
            data.resize(end, 0);
        }
        if !matches!(room, Room::Take | Room::TakeKeepSize) {
            let end = end.min(data.len());
            data[start.min(end)..end].fill(0);
        }
        Ok(Outcome::Done)
    }

    fn copy(
        &mut self,
        (from, from_offset): (Slot, u64),
        (to, to_offset): (Slot, u64),
        len: usize,
    ) -> Result<Outcome> {
        let (Content::File(source), Content::File(_)) =
            (&self.opened(from).content, &self.opened(to).content)
        else {
            return Err(libc::EISDIR);
        };
        let flags = self.open[&to].flags;
        if !self.open[&from].flags.read || !flags.write || flags.append {
            return Err(libc::EBADF);
        }
        let [start, to_start] =
            [from_offset, to_offset].map(|at| usize::try_from(at).expect("small"));
        let len = len.min(source.len().saturating_sub(start));
        if self.is_same(from, to) && to_start + len > start && to_start < start + len {
            return Err(libc::EINVAL);
        }
        if len > 0 {
            let copied = source[start..start + len].to_vec();
            let node = self.opened_mut(to);
            node.mtime = None;
            let Content::File(data) = &mut node.content else { unreachable!("seen above") };
            data.resize(data.len().max(to_start + len), 0);
            data[to_start..to_start + len].copy_from_slice(&copied);
        }
        Ok(Outcome::Count(len))
    }

    /// Data is never taken for a hole; what is zero may be called either, in blocks. No byte that is written is zero.
    fn seek(&self, slot: Slot, offset: u64, sought: Sought) -> Result<Outcome> {
        let Content::File(data) = &self.opened(slot).content else { return Err(libc::EINVAL) };
        let size = data.len() as u64;
        if offset >= size {
            return Err(libc::ENXIO);
        }
        let is_data = |at: &u64| data[usize::try_from(*at).expect("small")] != 0;
        Ok(match sought {
            Sought::Data => {
                let first = (offset..size).find(is_data);
                let range = offset..first.map_or(size, |first| first + 1);
                Outcome::PositionIn { ranges: vec![range], or_none: first.is_none() }
            }
            Sought::Hole => {
                let blocks = offset / BLOCK..size.div_ceil(BLOCK);
                let mut ranges: Vec<_> = blocks
                    .map(|block| {
                        let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(size));
                        let last = (start..end).rev().find(is_data);
                        last.map_or(start, |last| last + 1).max(offset)..end
                    })
                    .collect();
                ranges.push(size..size + 1);
                Outcome::PositionIn { ranges, or_none: false }
            }
        })
    }

    fn lock(&mut self, slot: Slot, take: Take, start: u64, len: u64) -> Result<Outcome> {
        let flags = self.open[&slot].flags;
        if take == Take::Shared && !flags.read || take == Take::Exclusive && !flags.write {
            return Err(libc::EBADF);
        }
        match self.opened_mut(slot).locks.set(slot, range(start, len), take) {
            true => Ok(Outcome::Done),
            false => Err(libc::EAGAIN),
        }
    }
}

/// What a write of `len` bytes puts there: no two bytes beside each other are equal, none is zero.
pub(in crate::exerciser) fn filling(len: usize, fill: u8) -> Vec<u8> {
    (1..=251).cycle().skip(fill.into()).take(len).collect()
}
