//! Rows of one volume, read one at a time or in key order.

use serde::de::DeserializeOwned;
use xtfs_core::{Error, Ino, Result, SessionId};
use xtfs_kv::{KeyRange, Read};

use super::inode::{Dentry, Inode, Orphan, Pending};
use super::keys::{Keys, decode, last_number, load};
use super::lock::{LockOwner, LockTable};
use super::session::{AppendTurn, Opens};
use super::volume::Usage;

/// Rows read at once where all of a prefix are wanted.
const BATCH: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) read: &'a dyn Read,
    pub(super) keys: Keys,
}

impl Rows<'_> {
    /// `StaleHandle` if there is none: it was deleted.
    pub(super) fn inode(self, ino: Ino) -> Result<Inode> {
        load(self.read, &self.keys.inode(ino))?.ok_or(Error::StaleHandle)
    }

    /// A directory in which names are looked up or changed.
    pub(super) fn directory(self, ino: Ino) -> Result<Inode> {
        let inode: Option<Inode> = load(self.read, &self.keys.inode(ino))?;
        let inode = inode.filter(|inode| inode.nlink > 0).ok_or(Error::NotFound)?;
        if inode.is_directory() { Ok(inode) } else { Err(Error::NotADirectory) }
    }

    pub(super) fn dentry(self, parent: Ino, name: &[u8]) -> Result<Option<Dentry>> {
        load(self.read, &self.keys.dentry(parent, name))
    }

    pub(super) fn is_empty_directory(self, ino: Ino) -> Result<bool> {
        Ok(self.read.scan(&KeyRange::prefix(&self.keys.cookies(ino)), 1)?.is_empty())
    }

    pub(super) fn orphan(self, ino: Ino) -> Result<Option<Orphan>> {
        load(self.read, &self.keys.orphan(ino))
    }

    pub(super) fn pending(self, ino: Ino) -> Result<Pending> {
        Ok(load(self.read, &self.keys.pending(ino))?.unwrap_or_default())
    }

    pub(super) fn opens(self, ino: Ino, session: SessionId) -> Result<Opens> {
        Ok(load(self.read, &self.keys.open(ino, session))?.unwrap_or_default())
    }

    pub(super) fn locks(self, ino: Ino) -> Result<LockTable> {
        let prefix = self.keys.locks(ino);
        let mut table = LockTable::default();
        for (key, value) in all(self.read, &prefix)? {
            let session = SessionId(last_number(&key[..prefix.len() + 8])?);
            let owner = LockOwner { session, owner: last_number(&key)? };
            table.add(owner, decode(&key, &value)?);
        }
        Ok(table)
    }

    /// Every session that holds the inode open.
    pub(super) fn holders(self, ino: Ino) -> Result<Vec<(SessionId, Opens)>> {
        let rows = all(self.read, &self.keys.opens(ino))?;
        let holder = |(key, value): &(Vec<u8>, Vec<u8>)| {
            Ok((SessionId(last_number(key)?), decode(key, value)?))
        };
        rows.iter().map(holder).collect()
    }

    pub(super) fn is_held(self, ino: Ino) -> Result<bool> {
        Ok(!self.read.scan(&KeyRange::prefix(&self.keys.opens(ino)), 1)?.is_empty())
    }

    pub(super) fn is_written(self, ino: Ino) -> Result<bool> {
        Ok(self.holders(ino)?.iter().any(|(_, opens)| opens.write > 0))
    }

    pub(super) fn append_turn(self, ino: Ino) -> Result<Option<AppendTurn>> {
        load(self.read, &self.keys.append(ino))
    }

    pub(super) fn usage(self) -> Result<Usage> {
        Ok(load(self.read, &self.keys.usage())?.unwrap_or_default())
    }

    /// Names of all extended attributes.
    pub(super) fn xattr_names(self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let prefix = self.keys.xattrs(ino);
        let rows = all(self.read, &prefix)?;
        Ok(rows.into_iter().map(|(key, _)| key[prefix.len()..].to_vec()).collect())
    }
}

/// All pairs below `prefix`.
pub(super) fn all(read: &dyn Read, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::new();
    let mut range = KeyRange::prefix(prefix);
    loop {
        let batch = read.scan(&range, BATCH)?;
        let is_last = batch.len() < BATCH;
        pairs.extend(batch);
        match pairs.last() {
            Some((last, _)) if !is_last => range = KeyRange::prefix_after(prefix, last),
            _ => return Ok(pairs),
        }
    }
}

/// All rows below `prefix`, with the number that their keys end with.
pub(super) fn numbered<T: DeserializeOwned>(
    read: &dyn Read,
    prefix: &[u8],
) -> Result<Vec<(u64, T)>> {
    let rows = all(read, prefix)?;
    rows.iter().map(|(key, value)| Ok((last_number(key)?, decode(key, value)?))).collect()
}

/// Up to `limit` rows of a table whose keys end with a number above `after`.
pub(super) fn numbered_after<T: DeserializeOwned>(
    read: &dyn Read,
    table: &[u8],
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, T)>> {
    let mut last = table.to_vec();
    last.extend(after.to_be_bytes());
    let rows = read.scan(&KeyRange::prefix_after(table, &last), limit)?;
    rows.iter().map(|(key, value)| Ok((last_number(key)?, decode(key, value)?))).collect()
}
