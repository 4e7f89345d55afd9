//! The read side: what the state says, on whose rights it may be said.

use std::collections::BTreeSet;

use xtfs_core::access::{self, Identity, Wanted};
use xtfs_core::{
    Error, GroupId, Ino, ReplicaSetId, Result, SessionId, StripeLayout, TargetId, Timestamp,
    VolumeId,
};
use xtfs_kv::{KeyRange, Read};

use super::command::{NumberRange, Opened};
use super::inode::{FileKind, Inode, Orphan, Pending, ReplicaSet};
use super::keys::{
    INODE, Keys, NEVER_USED, OPEN, ORPHAN, PENDING, REPLICA_SET, SESSION, VOLUME, decode,
    last_number, load,
};
use super::lock::LockTable;
use super::machine::Counters;
use super::ops::{check_name, list_xattrs, moves_atime, read_xattr, reserve};
use super::rows::{Rows, all, numbered, numbered_after};
use super::session::Session;
use super::volume::{Usage, Volume};

/// The state of a group as a store has it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    read: &'a dyn Read,
    group: GroupId,
    keys: Keys,
}

/// One volume of it.
#[derive(Clone, Debug)]
pub struct VolumeView<'a> {
    rows: Rows<'a>,
    volume: Volume,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub ino: Ino,
    pub kind: FileKind,
    pub cookie: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    pub end: bool,
    /// The directory itself at that moment.
    pub directory: Inode,
}

/// What fsck wants to know of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    pub inode: Inode,
    /// Names found in directories.
    pub links: u32,
    /// Somebody writes, or columns have to be told or asked: a difference means nothing yet.
    pub pending: bool,
}

impl<'a> View<'a> {
    pub fn new(read: &'a dyn Read, group: GroupId) -> Self {
        View { read, group, keys: Keys::of_group(group) }
    }

    /// Time of the newest command.
    pub fn now(&self) -> Result<Timestamp> {
        Ok(Counters::load(self.read, self.keys)?.now)
    }

    /// Every volume, also those that are being deleted.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let rows: Vec<(u64, Volume)> = numbered(self.read, &self.keys.table(VOLUME))?;
        Ok(rows.into_iter().map(|(_, volume)| volume).collect())
    }

    /// One that is not deleted.
    pub fn volume(&self, volume: VolumeId) -> Result<VolumeView<'a>> {
        let view = self.any_volume(volume)?;
        if view.volume.purged.is_some() { Err(Error::NotFound) } else { Ok(view) }
    }

    /// Also one that is being deleted: for workers.
    pub fn any_volume(&self, volume: VolumeId) -> Result<VolumeView<'a>> {
        let volume: Volume = load(self.read, &self.keys.volume(volume))?.ok_or(Error::NotFound)?;
        let keys = Keys::of_volume(self.group, volume.id);
        Ok(VolumeView { rows: Rows { read: self.read, keys }, volume })
    }

    pub fn volume_named(&self, name: &str) -> Result<VolumeView<'a>> {
        let id = load(self.read, &self.keys.volume_name(name))?.ok_or(Error::NotFound)?;
        self.volume(id)
    }

    pub fn sessions(&self) -> Result<Vec<Session>> {
        let rows: Vec<(u64, Session)> = numbered(self.read, &self.keys.table(SESSION))?;
        Ok(rows.into_iter().map(|(_, session)| session).collect())
    }

    /// `SessionLost` if there is none.
    pub fn session(&self, session: SessionId) -> Result<Session> {
        load(self.read, &self.keys.session(session))?.ok_or(Error::SessionLost)
    }

    pub fn replica_set(&self, set: ReplicaSetId) -> Result<ReplicaSet> {
        load(self.read, &self.keys.replica_set(set))?.ok_or(Error::UnknownSet)
    }

    pub fn replica_sets(&self) -> Result<Vec<ReplicaSet>> {
        let rows: Vec<(u64, ReplicaSet)> = numbered(self.read, &self.keys.table(REPLICA_SET))?;
        Ok(rows.into_iter().map(|(_, set)| set).collect())
    }

    /// Sets that a target is a member of.
    pub fn sets_of_target(&self, target: TargetId) -> Result<Vec<ReplicaSetId>> {
        let rows = all(self.read, &self.keys.sets_of_target(target))?;
        rows.iter().map(|(key, _)| Ok(ReplicaSetId(last_number(key)?))).collect()
    }

    /// Numbers that were never used: columns with such a data number are garbage (R9).
    pub fn never_used(&self) -> Result<Vec<NumberRange>> {
        reserve::never_used(self.read, &self.keys.table(NEVER_USED))
    }
}

impl VolumeView<'_> {
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    pub fn usage(&self) -> Result<Usage> {
        self.rows.usage()
    }

    /// As stored; whoever knows an inode may know its attributes.
    pub fn inode(&self, ino: Ino) -> Result<Inode> {
        self.rows.inode(ino)
    }

    pub fn lookup(&self, caller: &Identity, parent: Ino, name: &[u8]) -> Result<Inode> {
        let (_, found) = self.find(caller, parent, name)?;
        self.rows.inode(found.ok_or(Error::NotFound)?)
    }

    /// A directory in which the caller may look `name` up, and what the name leads to.
    pub fn find(
        &self,
        caller: &Identity,
        parent: Ino,
        name: &[u8],
    ) -> Result<(Inode, Option<Ino>)> {
        let directory = self.rows.directory(parent)?;
        self.check(caller, &directory, Wanted::EXECUTE)?;
        let found = match name {
            b"." => Some(directory.ino),
            b".." => Some(directory.parent),
            name => {
                check_name(name)?;
                self.child(parent, name)?
            }
        };
        Ok((directory, found))
    }

    /// What a name leads to, whoever asks.
    pub fn child(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>> {
        Ok(self.rows.dentry(parent, name)?.map(|entry| entry.ino))
    }

    fn check(&self, caller: &Identity, inode: &Inode, wanted: Wanted) -> Result<()> {
        access::check(&self.volume.identity(caller.clone()), inode.guarded(), wanted)
    }

    /// Whether reading would move the atime now, as the volume's policy says.
    pub fn atime_moves(&self, inode: &Inode, now: Timestamp) -> bool {
        moves_atime(self.volume.policy.atime, inode, now)
    }

    /// Whether no other session has the turn to append.
    pub fn may_append(&self, ino: Ino, session: SessionId) -> Result<bool> {
        let holder = self.rows.append_turn(ino)?;
        Ok(holder.is_none_or(|holder| holder.session == session))
    }

    /// access(2).
    pub fn access(&self, caller: &Identity, ino: Ino, wanted: Wanted) -> Result<()> {
        self.check(caller, &self.rows.inode(ino)?, wanted)
    }

    /// Entries with cookies above `after`, in the order in which they came to be. Who was there
    /// throughout is listed once, whatever else changes. `caller`: absent if that was checked when it was opened.
    pub fn read_dir(
        &self,
        caller: Option<&Identity>,
        ino: Ino,
        after: u64,
        limit: usize,
    ) -> Result<Page> {
        let directory = self.rows.inode(ino)?;
        if !directory.is_directory() {
            return Err(Error::NotADirectory);
        }
        if let Some(caller) = caller {
            self.check(caller, &directory, Wanted::READ)?;
        }
        let prefix = self.rows.keys.cookies(ino);
        let last = self.rows.keys.cookie(ino, after);
        let range = KeyRange::prefix_after(&prefix, &last);
        let pairs = self.rows.read.scan(&range, limit.max(1))?;
        let end = pairs.len() < limit.max(1);
        let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let name: Vec<u8> = decode(key, value)?;
            self.entry(ino, name)
        };
        let entries = pairs.iter().map(entry).collect::<Result<Vec<_>>>()?;
        Ok(Page { entries, end, directory })
    }

    fn entry(&self, parent: Ino, name: Vec<u8>) -> Result<Entry> {
        let dentry = self
            .rows
            .dentry(parent, &name)?
            .ok_or_else(|| Error::Corrupt(format!("directory {parent} lists a lost name")))?;
        Ok(Entry { name, ino: dentry.ino, kind: dentry.kind, cookie: dentry.cookie })
    }

    /// Target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.rows.inode(ino)?;
        match inode.kind {
            FileKind::Symlink => Ok(inode.target),
            _ => Err(Error::Invalid("not a symbolic link".into())),
        }
    }

    pub fn xattr(&self, caller: &Identity, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let inode = self.rows.inode(ino)?;
        read_xattr(self.rows, &self.volume.identity(caller.clone()), &inode, name)
    }

    pub fn xattrs(&self, caller: &Identity, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let inode = self.rows.inode(ino)?;
        list_xattrs(self.rows, &self.volume.identity(caller.clone()), &inode)
    }

    /// What a new file in the directory gets, before it is fitted to the targets there are.
    pub fn default_layout(&self, directory: Ino) -> Result<StripeLayout> {
        let inode = self.rows.inode(directory)?;
        Ok(inode.default_layout.unwrap_or(self.volume.policy.layout))
    }

    /// A directory that has a name of the inode; the root if none has.
    pub fn parent_of(&self, ino: Ino) -> Result<Ino> {
        let links = KeyRange::prefix(&self.rows.keys.links(ino));
        match self.rows.read.scan(&links, 1)?.first() {
            Some((key, _)) => Ok(Ino(last_number(&key[..key.len() - 8])?)),
            None => Ok(Ino::ROOT),
        }
    }

    /// What a renewed capability is made from. `Invalid` unless the session holds the inode open so.
    pub fn opened(&self, session: SessionId, ino: Ino, write: bool) -> Result<Opened> {
        let opens = self.rows.opens(ino, session)?;
        let held = if write { opens.write > 0 } else { opens.read > 0 || opens.write > 0 };
        if !held {
            return Err(Error::Invalid(format!("inode {ino} is not open")));
        }
        Ok(Opened { inode: self.rows.inode(ino)?, created: false, write })
    }

    pub fn locks(&self, ino: Ino) -> Result<LockTable> {
        self.rows.locks(ino)
    }

    /// Whether a change to `mode` has to be told to those who hold the inode open for writing.
    pub fn must_tell_writers(&self, ino: Ino, mode: Option<u32>) -> Result<bool> {
        let gains = mode.is_some() && self.rows.inode(ino)?.gains_set_ids(mode);
        Ok(gains && self.rows.is_written(ino)?)
    }

    /// Whether another session holds the inode open.
    pub fn is_open_elsewhere(&self, ino: Ino, session: SessionId) -> Result<bool> {
        Ok(self.rows.holders(ino)?.iter().any(|(of, _)| *of != session))
    }

    pub fn is_held(&self, ino: Ino) -> Result<bool> {
        self.rows.is_held(ino)
    }

    pub fn pending(&self, ino: Ino) -> Result<Pending> {
        self.rows.pending(ino)
    }

    /// Files that the settlement worker has to care for, above `after`.
    pub fn all_pending(&self, after: Ino, limit: usize) -> Result<Vec<(Ino, Pending)>> {
        let table = self.rows.keys.table(PENDING);
        let rows = numbered_after(self.rows.read, &table, after.0, limit)?;
        Ok(rows.into_iter().map(|(ino, pending)| (Ino(ino), pending)).collect())
    }

    /// Inodes without a name, above `after`.
    pub fn orphans(&self, after: Ino, limit: usize) -> Result<Vec<(Ino, Orphan)>> {
        let table = self.rows.keys.table(ORPHAN);
        let rows = numbered_after(self.rows.read, &table, after.0, limit)?;
        Ok(rows.into_iter().map(|(ino, orphan)| (Ino(ino), orphan)).collect())
    }

    /// How many inodes are open anywhere.
    pub fn open_files(&self) -> Result<usize> {
        let table = self.rows.keys.table(OPEN);
        let inos = all(self.rows.read, &table)?
            .into_iter()
            .map(|(key, _)| key[table.len()..][..8].to_vec())
            .collect::<BTreeSet<_>>();
        Ok(inos.len())
    }

    /// Inodes above `after`, in order.
    pub fn scan(&self, after: Ino, limit: usize) -> Result<Vec<Scanned>> {
        let table = self.rows.keys.table(INODE);
        let rows: Vec<(u64, Inode)> = numbered_after(self.rows.read, &table, after.0, limit)?;
        rows.into_iter().map(|(_, inode)| self.scanned(inode)).collect()
    }

    fn scanned(&self, inode: Inode) -> Result<Scanned> {
        let links = all(self.rows.read, &self.rows.keys.links(inode.ino))?.len();
        let pending = inode.writing
            || !self.rows.pending(inode.ino)?.is_empty()
            || self.rows.orphan(inode.ino)?.is_some();
        Ok(Scanned { inode, links: u32::try_from(links).unwrap_or(u32::MAX), pending })
    }

    /// From the root, without a leading '/'; one of them if the inode has several names.
    pub fn path_of(&self, ino: Ino) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let prefix = self.rows.keys.links(at);
            let links = self.rows.read.scan(&KeyRange::prefix(&prefix), 1)?;
            let Some((key, _)) = links.first() else { return Err(Error::NotFound) };
            let cookie = last_number(key)?;
            let parent = Ino(last_number(&key[..key.len() - 8])?);
            let name_key = self.rows.keys.cookie(parent, cookie);
            let name: Vec<u8> = load(self.rows.read, &name_key)?
                .ok_or_else(|| Error::Corrupt(format!("inode {at} has a lost name")))?;
            names.push(name);
            at = parent;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }
}
