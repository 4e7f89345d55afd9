//! What is kept under leases. Pure: what is told to it decides.
//!
//! * A lease counts if no recall has ended it, and no newer one is there.
//! * An answer to a question that was asked before a change of our own had ended says nothing of what was changed.
//! * A change of our own that ends while another one has ended since it was asked for: nobody knows which came last, so
//!   what both changed is forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use xtfs_core::{ColumnIndex, Ino, RELATIME_AGE, Timestamp};
use xtfs_proto::v1;

use crate::attributes::{Attributes, DirectoryEntry, FileKind};

/// Names of all directories; beyond it all are forgotten.
const NAMES_MAX: usize = 500_000;
/// Inodes whose recalls, or changes of our own, are remembered one by one.
const REMEMBERED_MAX: usize = 16_384;
/// Attributes of one inode, and bytes of one, that are kept.
const XATTRS_MAX: usize = 32;
const XATTR_BYTES_MAX: usize = 4096;

/// Counts what was changed by us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// An inode as an answer described it, with its lease.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) attributes: Attributes,
    pub(crate) lease: Lease,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lease {
    pub(crate) grant: u64,
    pub(crate) quiet_until: Timestamp,
    pub(crate) has_acl: bool,
    /// Of each column, if we alone write it.
    pub(crate) allocated: Vec<u64>,
    /// Nobody else looks at it before it is asked back.
    pub(crate) exclusive: bool,
    /// A read may be told later.
    pub(crate) lazy_atime: bool,
    /// To read its data.
    pub(crate) right: Option<ReadRight>,
}

/// Where the data of a file lies, and the right to read it, as the MRC gave it at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadRight {
    pub(crate) layout: v1::FileLayout,
    pub(crate) grant: v1::Grant,
    pub(crate) given: Instant,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Leads(Ino),
    Absent,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    tick: Tick,
    inodes: HashMap<Ino, Kept>,
    names: usize,
    /// The newest grant of an inode that a recall has ended.
    ended: Latest<u64>,
    /// When a change of our own has ended last.
    changed: Latest<Tick>,
    /// Inodes that changes of our own are on their way to, each as often as there is one.
    changing: HashMap<Ino, u32>,
    /// Files of which a write of ours may still arrive.
    doubted: HashSet<Ino>,
    /// Of files, what is written here only so far.
    kept_back: HashMap<Ino, KeptBack>,
    /// When some of that was written last.
    flushed: Latest<Tick>,
    /// Files that were read, and when, of which the MRC is told later.
    touched: HashMap<Ino, Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) attributes: Attributes,
    pub(crate) lease: Lease,
    xattrs: BTreeMap<Bytes, Option<Bytes>>,
    xattr_names: Option<Arc<[Bytes]>>,
    target: Option<Bytes>,
    names: HashMap<Bytes, Name>,
    /// What is not in `names` is not there.
    complete: bool,
    /// All entries, as of a change of the directory.
    listing: Option<(u64, Arc<[DirectoryEntry]>)>,
    /// Of a directory that was listed.
    parent: Option<Ino>,
    /// What the kernel has cached of the data was read under this lease.
    data_is_current: bool,
}

/// What was written of a file and is kept back, in short.
#[derive(Clone, Copy, Debug, Default)]
struct KeptBack {
    end: u64,
    mtime: Timestamp,
    bytes: u64,
}

/// The newest value for each of some inodes, and the newest for all others.
#[derive(Debug, Default)]
struct Latest<T> {
    by_inode: HashMap<Ino, T>,
    others: T,
}

impl<T: Copy + Ord> Latest<T> {
    fn of(&self, ino: Ino) -> T {
        self.by_inode.get(&ino).copied().unwrap_or(self.others)
    }

    fn raise(&mut self, ino: Ino, to: T) {
        if self.by_inode.len() >= REMEMBERED_MAX {
            self.others = self.by_inode.drain().map(|(_, value)| value).max().unwrap_or(to);
        }
        let value = self.of(ino).max(to);
        self.by_inode.insert(ino, value);
    }
}

impl Kept {
    fn new(described: Described) -> Self {
        Kept {
            attributes: described.attributes,
            lease: described.lease,
            xattrs: BTreeMap::new(),
            xattr_names: None,
            target: None,
            names: HashMap::new(),
            complete: false,
            listing: None,
            parent: None,
            data_is_current: false,
        }
    }

    /// Programs take a file that occupies less than its size for one with holes: what is kept back counts.
    fn count_allocated(&mut self, kept_back: u64) {
        if self.lease.allocated.is_empty() {
            return;
        }
        let columns = self.lease.allocated.iter();
        self.attributes.allocated =
            columns.fold(kept_back, |sum, bytes| sum.saturating_add(*bytes));
    }

    fn forget_xattrs(&mut self) {
        self.xattrs.clear();
        self.xattr_names = None;
    }
}

impl Table {
    /// When a question is asked.
    pub(crate) fn now(&self) -> Tick {
        self.tick
    }

    pub(crate) fn kept(&self, ino: Ino) -> Option<&Kept> {
        self.inodes.get(&ino)
    }

    /// Takes in an answer to what was asked at `asked`. Whether it is kept.
    pub(crate) fn learn(&mut self, asked: Tick, mut described: Described) -> bool {
        self.add_kept_back(&mut described.attributes);
        let ino = described.attributes.ino;
        let is_old = described.lease.grant <= self.ended.of(ino) || self.changed.of(ino) > asked;
        if is_old || self.doubted.contains(&ino) {
            return false;
        }
        match self.inodes.get_mut(&ino) {
            Some(kept) if kept.lease.grant > described.lease.grant => return false,
            Some(kept) => {
                let right = kept.lease.right.take();
                let same = kept.attributes.change == described.attributes.change;
                if !same {
                    // A change of our own; what it means for them is not known.
                    kept.forget_xattrs();
                }
                kept.attributes = described.attributes;
                kept.lease = described.lease;
                // Not every answer gives one. OSDs refuse one that a cut has made old.
                let newest = kept.lease.right.take();
                kept.lease.right = newest.or(right);
            }
            None => {
                self.inodes.insert(ino, Kept::new(described));
            }
        }
        true
    }

    /// A change of ours that was asked for at `asked` has ended and was described so. Without a description, or if
    /// another of ours has ended meanwhile, nothing is known of the inode any more.
    pub(crate) fn changed(&mut self, asked: Tick, ino: Ino, described: Option<Described>) -> bool {
        let known = described.is_some_and(|described| self.learn(asked, described));
        self.tick.0 += 1;
        self.changed.raise(ino, self.tick);
        if !known {
            self.forget(ino);
        }
        known
    }

    /// A change of ours is on its way to these inodes.
    pub(crate) fn begin(&mut self, inos: &[Ino]) {
        inos.iter().for_each(|ino| *self.changing.entry(*ino).or_default() += 1);
    }

    pub(crate) fn end(&mut self, inos: &[Ino]) {
        for ino in inos {
            if let Some(changes) = self.changing.get_mut(ino) {
                *changes -= 1;
                if *changes == 0 {
                    self.changing.remove(ino);
                }
            }
        }
    }

    pub(crate) fn is_changing(&self, ino: Ino) -> bool {
        self.changing.contains_key(&ino)
    }

    /// Nobody knows what a write of ours has done, or will do yet.
    pub(crate) fn doubt(&mut self, ino: Ino) {
        self.doubted.insert(ino);
        self.forget(ino);
    }

    /// Whether we alone look at a file and write it.
    pub(crate) fn is_exclusive(&self, ino: Ino) -> bool {
        self.inodes.get(&ino).is_some_and(|kept| kept.lease.exclusive)
    }

    /// Others may look at it: we have no handle to write it any more.
    pub(crate) fn share(&mut self, ino: Ino) {
        if let Some(kept) = self.inodes.get_mut(&ino) {
            kept.lease.exclusive = false;
        }
    }

    /// A write of ours up to `end` is kept back, with others, `bytes` in all.
    pub(crate) fn keeps_back(&mut self, ino: Ino, end: u64, mtime: Timestamp, bytes: u64) {
        let kept_back = self.kept_back.entry(ino).or_default();
        *kept_back =
            KeptBack { end: kept_back.end.max(end), mtime: kept_back.mtime.max(mtime), bytes };
        self.wrote(ino, end, (mtime, mtime), std::iter::empty());
    }

    /// All of it was written, but for `bytes` up to `end` that came meanwhile.
    pub(crate) fn flushed(&mut self, ino: Ino, end: u64, bytes: u64) {
        self.tick.0 += 1;
        self.flushed.raise(ino, self.tick);
        match self.kept_back.get_mut(&ino) {
            Some(kept_back) if bytes > 0 => (kept_back.end, kept_back.bytes) = (end, bytes),
            _ => drop(self.kept_back.remove(&ino)),
        }
        let kept_back = self.kept_back_bytes(ino);
        if let Some(kept) = self.inodes.get_mut(&ino) {
            kept.count_allocated(kept_back);
        }
    }

    pub(crate) fn was_flushed_since(&self, ino: Ino, asked: Tick) -> bool {
        self.flushed.of(ino) > asked
    }

    /// Adds to attributes from elsewhere what is kept back.
    pub(crate) fn add_kept_back(&self, attributes: &mut Attributes) {
        if let Some(at) = self.touched.get(&attributes.ino) {
            attributes.atime = attributes.atime.max(*at);
        }
        let Some(kept_back) = self.kept_back.get(&attributes.ino) else { return };
        attributes.size = attributes.size.max(kept_back.end);
        // Whoever sets times has what is kept back written first.
        attributes.mtime = kept_back.mtime;
        attributes.ctime = attributes.ctime.max(kept_back.mtime);
        attributes.allocated = attributes.allocated.saturating_add(kept_back.bytes);
    }

    fn kept_back_bytes(&self, ino: Ino) -> u64 {
        self.kept_back.get(&ino).map_or(0, |kept_back| kept_back.bytes)
    }

    /// We do not write the file any more; the MRC knows who might.
    pub(crate) fn trust(&mut self, ino: Ino) {
        self.doubted.remove(&ino);
    }

    pub(crate) fn keeps_any(&self) -> bool {
        !self.inodes.is_empty()
    }

    /// Takes in what a name leads to, in a directory that is kept.
    pub(crate) fn name(&mut self, parent: Ino, name: Bytes, leads: Name) {
        if self.names >= NAMES_MAX {
            self.inodes.values_mut().for_each(|kept| {
                kept.names = HashMap::new();
                kept.complete = false;
            });
            self.names = 0;
        }
        let Some(kept) = self.inodes.get_mut(&parent) else { return };
        if kept.complete && leads == Name::Absent {
            self.names -= usize::from(kept.names.remove(&name).is_some());
        } else {
            self.names += usize::from(kept.names.insert(name, leads).is_none());
        }
    }

    /// What a name led to is not known any more.
    pub(crate) fn forget_name(&mut self, parent: Ino, name: &[u8]) {
        if let Some(kept) = self.inodes.get_mut(&parent) {
            self.names -= usize::from(kept.names.remove(name).is_some());
            kept.complete = false;
        }
    }

    /// A directory of ours has just been made: it is empty.
    pub(crate) fn is_empty(&mut self, directory: Ino) {
        if let Some(kept) = self.inodes.get_mut(&directory) {
            kept.complete = true;
        }
    }

    /// All entries of a directory, as it was described by the same answer.
    pub(crate) fn list(&mut self, directory: Ino, parent: Ino, entries: Arc<[DirectoryEntry]>) {
        for entry in entries.iter() {
            self.name(directory, entry.name.clone(), Name::Leads(entry.ino));
        }
        if let Some(kept) = self.inodes.get_mut(&directory) {
            kept.complete = kept.names.len() >= entries.len();
            kept.parent = Some(parent);
            kept.listing = Some((kept.attributes.change, entries));
        }
    }

    pub(crate) fn listing(&self, directory: Ino) -> Option<&Arc<[DirectoryEntry]>> {
        let kept = self.inodes.get(&directory)?;
        let (change, entries) = kept.listing.as_ref()?;
        (*change == kept.attributes.change).then_some(entries)
    }

    /// `None`: it is to be asked for, as are "." and "..", which no listing has.
    pub(crate) fn look_up(&self, parent: Ino, name: &[u8]) -> Option<Name> {
        if matches!(name, b"." | b"..") {
            return None;
        }
        let kept = self.inodes.get(&parent)?;
        match kept.names.get(name) {
            Some(leads) => Some(*leads),
            None if kept.complete => Some(Name::Absent),
            None => None,
        }
    }

    /// A write of ours has ended: up to `end` of the file, at `mtime`; columns with what they occupy now. A time that
    /// was set ahead of `now` goes as well.
    pub(crate) fn wrote(
        &mut self,
        ino: Ino,
        end: u64,
        (mtime, now): (Timestamp, Timestamp),
        columns: impl Iterator<Item = (ColumnIndex, u64)>,
    ) {
        self.tick.0 += 1;
        self.changed.raise(ino, self.tick);
        let kept_back = self.kept_back_bytes(ino);
        let Some(kept) = self.inodes.get_mut(&ino) else { return };
        let allocated = &mut kept.lease.allocated;
        for (column, bytes) in columns {
            let Some(known) = allocated.get_mut(usize::from(column.0)) else {
                return self.forget(ino);
            };
            // Answers may have overtaken each other.
            *known = bytes.max(*known);
        }
        kept.count_allocated(kept_back);
        let attributes = &mut kept.attributes;
        attributes.size = attributes.size.max(end);
        if mtime > attributes.mtime || attributes.mtime > now {
            attributes.mtime = mtime;
            attributes.ctime = attributes.ctime.max(mtime);
        }
        kept.lease.quiet_until = Timestamp(i64::MIN);
    }

    /// A file is opened to read at `now`, without the MRC: it is told later if that moves the atime. `false`: it must know
    /// at once.
    pub(crate) fn read(&mut self, ino: Ino, now: Timestamp) -> bool {
        let Some(kept) = self.inodes.get_mut(&ino) else { return false };
        if now < kept.lease.quiet_until {
            return true;
        }
        if !kept.lease.lazy_atime {
            return false;
        }
        kept.attributes.atime = kept.attributes.atime.max(now);
        kept.lease.quiet_until = now.plus(RELATIME_AGE);
        self.touched.insert(ino, now);
        true
    }

    /// The atime is set to something else.
    pub(crate) fn forget_read(&mut self, ino: Ino) {
        self.touched.remove(&ino);
    }

    /// Reads that the MRC is to be told of.
    pub(crate) fn take_touched(&mut self) -> HashMap<Ino, Timestamp> {
        std::mem::take(&mut self.touched)
    }

    /// The right to read a file's data, as an open gave it.
    pub(crate) fn learn_right(&mut self, ino: Ino, right: ReadRight) {
        if let Some(kept) = self.inodes.get_mut(&ino) {
            kept.lease.right = Some(right);
        }
    }

    /// For "..", of a directory whose listing is kept.
    pub(crate) fn parent_of(&self, directory: Ino) -> Option<Ino> {
        self.inodes.get(&directory)?.parent
    }

    pub(crate) fn xattr(&self, ino: Ino, name: &[u8]) -> Option<Option<Bytes>> {
        self.inodes.get(&ino)?.xattrs.get(name).cloned()
    }

    pub(crate) fn xattr_names(&self, ino: Ino) -> Option<Arc<[Bytes]>> {
        self.inodes.get(&ino)?.xattr_names.clone()
    }

    pub(crate) fn target(&self, ino: Ino) -> Option<Bytes> {
        self.inodes.get(&ino)?.target.clone()
    }

    /// The lease under which something is asked that comes without one. What is read until the answer holds if it is
    /// the same then.
    pub(crate) fn under(&self, ino: Ino) -> Option<(u64, Tick)> {
        self.inodes.get(&ino).map(|kept| (kept.attributes.change, self.tick))
    }

    fn still(&mut self, ino: Ino, (change, asked): (u64, Tick)) -> Option<&mut Kept> {
        if self.changed.of(ino) > asked {
            return None;
        }
        self.inodes.get_mut(&ino).filter(|kept| kept.attributes.change == change)
    }

    pub(crate) fn learn_xattr(
        &mut self,
        ino: Ino,
        under: (u64, Tick),
        name: Bytes,
        value: Option<Bytes>,
    ) {
        let small = value.as_ref().is_none_or(|value| value.len() <= XATTR_BYTES_MAX);
        if let Some(kept) = self.still(ino, under)
            && small
        {
            if kept.xattrs.len() >= XATTRS_MAX {
                kept.xattrs.clear();
            }
            kept.xattrs.insert(name, value);
        }
    }

    pub(crate) fn learn_xattr_names(&mut self, ino: Ino, under: (u64, Tick), names: Arc<[Bytes]>) {
        if let Some(kept) = self.still(ino, under) {
            kept.xattr_names = Some(names);
        }
    }

    pub(crate) fn learn_target(&mut self, ino: Ino, target: Bytes) {
        if let Some(kept) = self.inodes.get_mut(&ino)
            && kept.attributes.kind == FileKind::Symlink
        {
            kept.target = Some(target);
        }
    }

    /// The file is opened: whether the kernel may go on with the data that it has of it. From now on it may.
    pub(crate) fn data_is_current(&mut self, ino: Ino) -> bool {
        let kept = self.inodes.get_mut(&ino);
        kept.is_some_and(|kept| std::mem::replace(&mut kept.data_is_current, true))
    }

    /// Grants up to `grant` are over.
    pub(crate) fn recall(&mut self, ino: Ino, grant: u64) {
        self.ended.raise(ino, grant);
        if self.inodes.get(&ino).is_some_and(|kept| kept.lease.grant <= grant) {
            self.drop_kept(ino);
        }
    }

    /// Nothing is known of it any more, also not by what was asked for before.
    pub(crate) fn forget(&mut self, ino: Ino) {
        self.tick.0 += 1;
        self.changed.raise(ino, self.tick);
        self.drop_kept(ino);
    }

    fn drop_kept(&mut self, ino: Ino) {
        if let Some(kept) = self.inodes.remove(&ino) {
            self.names -= kept.names.len();
        }
    }

    /// All leases are over. Says on what there were some.
    pub(crate) fn forget_all(&mut self) -> Vec<Ino> {
        self.tick.0 += 1;
        self.names = 0;
        self.ended = Latest::default();
        self.changed = Latest { by_inode: HashMap::new(), others: self.tick };
        self.inodes.drain().map(|(ino, _)| ino).collect()
    }
}
