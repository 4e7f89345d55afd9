//! What an operation changes a volume with. Refusals come before; nothing here refuses.

use serde::Serialize;
use xtfs_core::access::Identity;
use xtfs_core::{Error, FileEpoch, Floor, Ino, Result, SessionId, Timestamp};
use xtfs_kv::Transaction;

use super::inode::{Dentry, FileKind, Inode, Orphan, Pending};
use super::keys::{Keys, load, store};
use super::lock::{LockOwner, LockTable};
use super::rows::{Rows, all};
use super::session::{AppendTurn, Opens};
use super::volume::{Usage, Volume};

#[derive(Debug)]
pub(super) struct Change<'a, 'b> {
    pub(super) tx: &'a mut Transaction<'b>,
    pub(super) keys: Keys,
    /// Of the group that the volume belongs to.
    pub(super) group: Keys,
    pub(super) volume: Volume,
    pub(super) now: Timestamp,
    /// After root squash.
    pub(super) caller: Identity,
    pub(super) session: Option<SessionId>,
}

impl Change<'_, '_> {
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { read: &*self.tx, keys: self.keys }
    }

    /// The session that opens and closes belong to.
    pub(super) fn own_session(&self) -> Result<SessionId> {
        self.session.ok_or_else(|| Error::Invalid("open and close need a session".into()))
    }

    fn put<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<()> {
        store(self.tx, key, value)
    }

    /// A new inode, without a name yet.
    pub(super) fn new_inode(&self, ino: Ino, kind: FileKind, parent: &Inode) -> Inode {
        let directory = kind == FileKind::Directory;
        let inherits_group = parent.mode & xtfs_core::access::SGID != 0;
        Inode {
            kind,
            uid: self.caller.uid,
            gid: if inherits_group { parent.gid } else { self.caller.gid },
            nlink: if directory { 2 } else { 1 },
            size: if directory { super::inode::DIRECTORY_SIZE } else { 0 },
            parent: if directory { parent.ino } else { Ino(0) },
            default_layout: if directory { parent.default_layout } else { None },
            ..Inode::blank(ino, self.now)
        }
    }

    /// Stores an inode, and what its volume's usage becomes by it.
    pub(super) fn put_inode(&mut self, inode: &Inode) -> Result<()> {
        let key = self.keys.inode(inode.ino);
        let before: Option<Inode> = load(self.tx, &key)?;
        self.count(before.as_ref(), Some(inode))?;
        self.put(&key, inode)
    }

    fn count(&mut self, before: Option<&Inode>, after: Option<&Inode>) -> Result<()> {
        let (before, after) =
            (before.map_or(Usage::default(), usage), after.map_or(Usage::default(), usage));
        if before == after {
            return Ok(());
        }
        let mut total = self.rows().usage()?;
        total.files = (total.files + after.files).saturating_sub(before.files);
        total.bytes = total.bytes.saturating_add(after.bytes).saturating_sub(before.bytes);
        self.put(&self.keys.usage(), &total)
    }

    /// Changes an inode that must be there, and says so in its ctime and change counter.
    pub(super) fn change_inode(
        &mut self,
        ino: Ino,
        change: impl FnOnce(&mut Inode),
    ) -> Result<Inode> {
        let mut inode = self.rows().inode(ino)?;
        change(&mut inode);
        self.touch(&mut inode);
        self.put_inode(&inode)?;
        Ok(inode)
    }

    /// Every change of an inode goes by here.
    pub(super) fn touch(&self, inode: &mut Inode) {
        inode.ctime = self.now;
        inode.change += 1;
    }

    /// Puts a name into a directory. A name that is there keeps its cookie and is given to the new inode.
    pub(super) fn put_entry(
        &mut self,
        parent: Ino,
        name: &[u8],
        ino: Ino,
        kind: FileKind,
    ) -> Result<()> {
        let now = self.now;
        let replaced = self.rows().dentry(parent, name)?;
        let directory = self.change_inode(parent, |directory| {
            directory.mtime = now;
            directory.next_cookie += u64::from(replaced.is_none());
        })?;
        let cookie = match replaced {
            Some(entry) => {
                self.tx.delete(&self.keys.link(entry.ino, parent, entry.cookie));
                entry.cookie
            }
            None => directory.next_cookie - 1,
        };
        self.put(&self.keys.dentry(parent, name), &Dentry { ino, kind, cookie })?;
        self.put(&self.keys.cookie(parent, cookie), &name)?;
        self.put(&self.keys.link(ino, parent, cookie), &())
    }

    pub(super) fn remove_entry(&mut self, parent: Ino, name: &[u8], entry: Dentry) -> Result<()> {
        let now = self.now;
        self.tx.delete(&self.keys.dentry(parent, name));
        self.tx.delete(&self.keys.cookie(parent, entry.cookie));
        self.tx.delete(&self.keys.link(entry.ino, parent, entry.cookie));
        self.change_inode(parent, |directory| directory.mtime = now)?;
        Ok(())
    }

    /// Takes a name away from an inode; an empty directory has no other.
    pub(super) fn drop_link(&mut self, ino: Ino) -> Result<()> {
        let inode = self.change_inode(ino, |inode| {
            inode.nlink = if inode.is_directory() { 0 } else { inode.nlink - 1 };
        })?;
        if inode.nlink > 0 {
            return Ok(());
        }
        self.put_orphan(ino, Orphan::Waiting)?;
        self.reap(&inode)
    }

    pub(super) fn put_orphan(&mut self, ino: Ino, orphan: Orphan) -> Result<()> {
        self.put(&self.keys.orphan(ino), &orphan)
    }

    /// Drops an orphan that nobody holds, unless OSDs have something of it.
    pub(super) fn reap(&mut self, inode: &Inode) -> Result<()> {
        if inode.nlink == 0 && inode.layout.is_none() && !self.rows().is_held(inode.ino)? {
            self.remove_inode(inode.ino)?;
        }
        Ok(())
    }

    /// All that is left of an inode without names.
    pub(super) fn remove_inode(&mut self, ino: Ino) -> Result<()> {
        let key = self.keys.inode(ino);
        let before: Option<Inode> = load(self.tx, &key)?;
        self.count(before.as_ref(), None)?;
        self.tx.delete(&key);
        self.tx.delete(&self.keys.orphan(ino));
        self.tx.delete(&self.keys.pending(ino));
        self.tx.delete(&self.keys.append(ino));
        self.delete_all(&self.keys.locks(ino))?;
        self.delete_all(&self.keys.xattrs(ino))
    }

    fn delete_all(&mut self, prefix: &[u8]) -> Result<()> {
        for (key, _) in all(self.tx, prefix)? {
            self.tx.delete(&key);
        }
        Ok(())
    }

    pub(super) fn put_pending(&mut self, ino: Ino, pending: Pending) -> Result<()> {
        let key = self.keys.pending(ino);
        if pending.is_empty() {
            self.tx.delete(&key);
            return Ok(());
        }
        self.put(&key, &pending)
    }

    /// Who does not hold the inode open for writing has no turn to append to it.
    pub(super) fn put_append_turn(&mut self, ino: Ino, turn: Option<AppendTurn>) -> Result<()> {
        let key = self.keys.append(ino);
        match turn {
            Some(turn) => self.put(&key, &turn),
            None => {
                self.tx.delete(&key);
                Ok(())
            }
        }
    }

    pub(super) fn put_opens(&mut self, ino: Ino, session: SessionId, opens: Opens) -> Result<()> {
        let (by_ino, by_session) = (self.keys.open(ino, session), self.keys.opened(session, ino));
        if opens.write == 0 && self.rows().append_turn(ino)?.is_some_and(|it| it.session == session)
        {
            self.put_append_turn(ino, None)?;
        }
        if opens == Opens::default() {
            self.tx.delete(&by_ino);
            self.tx.delete(&by_session);
            // So it is known where to look for the locks of a session that ends.
            return self.delete_all(&self.keys.locks_of_session(ino, session));
        }
        self.put(&by_session, &())?;
        self.put(&by_ino, &opens)
    }

    /// What one owner has of a table.
    pub(super) fn put_locks(
        &mut self,
        ino: Ino,
        owner: LockOwner,
        table: &LockTable,
    ) -> Result<()> {
        let key = self.keys.locks_of(ino, owner);
        let own = table.of(owner);
        if own.is_empty() {
            self.tx.delete(&key);
            return Ok(());
        }
        self.put(&key, &own)
    }
}

impl Inode {
    /// Of nobody, for nobody, empty.
    pub(super) fn blank(ino: Ino, now: Timestamp) -> Inode {
        Inode {
            ino,
            // Numbers are not reused, so the number alone names the inode for all time.
            generation: 1,
            kind: FileKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            allocated: Vec::new(),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            change: 1,
            rdev: 0,
            layout: None,
            file_epoch: FileEpoch(1),
            floor: Floor::NONE,
            writing: false,
            writer: None,
            dirty: false,
            round: 0,
            mtime_ignore: None,
            target: Vec::new(),
            parent: Ino(0),
            next_cookie: 1,
            default_layout: None,
            acls: None,
        }
    }
}

/// What one inode adds to its volume's usage.
fn usage(inode: &Inode) -> Usage {
    let counts = inode.nlink > 0 && inode.ino != Ino::ROOT;
    let sized = counts && inode.kind == FileKind::File;
    Usage { files: u64::from(counts), bytes: if sized { inode.size } else { 0 } }
}
