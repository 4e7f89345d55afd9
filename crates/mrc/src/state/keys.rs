//! Keys of the tables. Every key begins with group (4 bytes) and volume (8), then one byte for the
//! table; integers are big-endian, so that a directory is one range scan.
//!
//! | table | byte | key | value |
//! |---|---|---|---|
//! | of volume zero: the group | | | |
//! | counters | `g` | – | `Counters` |
//! | gap | `m` | start | end: numbers that were reserved and not seen yet |
//! | never used | `z` | start | end: numbers that were never used (P5) |
//! | volume | `v` | volume | `Volume` |
//! | volume name | `n` | name | `VolumeId` |
//! | session | `s` | session | `Session` |
//! | client | `c` | client | `SessionId` |
//! | result | `a` | session, number | `Reply` |
//! | replica set | `r` | set | `ReplicaSet` |
//! | target | `t` | target, set | nothing: sets with this member |
//! | of a volume | | | |
//! | usage | `u` | – | `Usage` |
//! | inode | `i` | ino | `Inode` |
//! | dentry | `d` | parent, name | `Dentry` |
//! | cookie | `k` | parent, cookie | name |
//! | link | `l` | ino, parent, cookie | nothing: where the inode has a name |
//! | xattr | `x` | ino, name | value |
//! | orphan | `o` | ino | `Orphan` |
//! | pending | `p` | ino | `Pending` |
//! | open | `h` | ino, session | `Opens` |
//! | append | `e` | ino | `AppendTurn`: who may append |
//! | opened | `q` | session, ino | nothing: what a session holds open |
//! | locks | `f` | ino, session, owner | `Vec<OwnLock>` |
//!
//! A value is a format byte and the postcard encoding of its type. Inodes, and results, which hold inodes, have
//! format 2. In format 1 an inode ended before the ACLs, which are absent then; a result was not to be told apart from
//! one with ACLs, and counts as forgotten.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xtfs_core::{
    ClientId, Error, GroupId, Ino, ReplicaSetId, RequestNumber, Result, SessionId, TargetId,
    VolumeId,
};
use xtfs_kv::{Read, Transaction};

use super::command::Reply;
use super::lock::LockOwner;

/// First byte of a value; a change of any type's fields takes another, and a migration.
const FORMAT: u8 = 1;
/// Of what holds inodes.
const INODE_FORMAT: u8 = 2;

/// Keys of one volume of one group; of volume zero, those of the group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    group: GroupId,
    volume: VolumeId,
}

impl Keys {
    pub(super) fn of_group(group: GroupId) -> Self {
        Keys { group, volume: VolumeId(0) }
    }

    pub(super) fn of_volume(group: GroupId, volume: VolumeId) -> Self {
        Keys { group, volume }
    }

    /// What all keys of the volume begin with.
    pub(super) fn all(self) -> Vec<u8> {
        let mut key = self.group.0.to_be_bytes().to_vec();
        key.extend(self.volume.0.to_be_bytes());
        key
    }

    /// What all keys of a table begin with.
    pub(super) fn table(self, table: u8) -> Vec<u8> {
        let mut key = self.all();
        key.push(table);
        key
    }

    fn number(self, table: u8, number: u64) -> Vec<u8> {
        join(self.table(table), &number.to_be_bytes())
    }

    fn numbers(self, table: u8, first: u64, second: u64) -> Vec<u8> {
        join(self.number(table, first), &second.to_be_bytes())
    }

    pub(super) fn counters(self) -> Vec<u8> {
        self.table(b'g')
    }

    pub(super) fn gap(self, start: u64) -> Vec<u8> {
        self.number(GAP, start)
    }

    pub(super) fn never_used(self, start: u64) -> Vec<u8> {
        self.number(NEVER_USED, start)
    }

    pub(super) fn append(self, ino: Ino) -> Vec<u8> {
        self.number(b'e', ino.0)
    }

    pub(super) fn volume(self, volume: VolumeId) -> Vec<u8> {
        self.number(VOLUME, volume.0)
    }

    pub(super) fn volume_name(self, name: &str) -> Vec<u8> {
        join(self.table(b'n'), name.as_bytes())
    }

    pub(super) fn session(self, session: SessionId) -> Vec<u8> {
        self.number(SESSION, session.0)
    }

    pub(super) fn client(self, client: ClientId) -> Vec<u8> {
        join(self.table(b'c'), client.0.as_bytes())
    }

    pub(super) fn results(self, session: SessionId) -> Vec<u8> {
        self.number(RESULT, session.0)
    }

    pub(super) fn result(self, session: SessionId, number: RequestNumber) -> Vec<u8> {
        self.numbers(RESULT, session.0, number.0)
    }

    pub(super) fn replica_set(self, set: ReplicaSetId) -> Vec<u8> {
        self.number(REPLICA_SET, set.0)
    }

    pub(super) fn sets_of_target(self, target: TargetId) -> Vec<u8> {
        join(self.table(b't'), target.0.as_bytes())
    }

    pub(super) fn set_of_target(self, target: TargetId, set: ReplicaSetId) -> Vec<u8> {
        join(self.sets_of_target(target), &set.0.to_be_bytes())
    }

    pub(super) fn usage(self) -> Vec<u8> {
        self.table(b'u')
    }

    pub(super) fn inode(self, ino: Ino) -> Vec<u8> {
        self.number(INODE, ino.0)
    }

    pub(super) fn dentry(self, parent: Ino, name: &[u8]) -> Vec<u8> {
        join(self.number(b'd', parent.0), name)
    }

    pub(super) fn cookies(self, parent: Ino) -> Vec<u8> {
        self.number(b'k', parent.0)
    }

    pub(super) fn cookie(self, parent: Ino, cookie: u64) -> Vec<u8> {
        self.numbers(b'k', parent.0, cookie)
    }

    pub(super) fn links(self, ino: Ino) -> Vec<u8> {
        self.number(b'l', ino.0)
    }

    pub(super) fn link(self, ino: Ino, parent: Ino, cookie: u64) -> Vec<u8> {
        join(self.numbers(b'l', ino.0, parent.0), &cookie.to_be_bytes())
    }

    pub(super) fn xattrs(self, ino: Ino) -> Vec<u8> {
        self.number(b'x', ino.0)
    }

    pub(super) fn xattr(self, ino: Ino, name: &[u8]) -> Vec<u8> {
        join(self.xattrs(ino), name)
    }

    pub(super) fn orphan(self, ino: Ino) -> Vec<u8> {
        self.number(ORPHAN, ino.0)
    }

    pub(super) fn pending(self, ino: Ino) -> Vec<u8> {
        self.number(PENDING, ino.0)
    }

    pub(super) fn opens(self, ino: Ino) -> Vec<u8> {
        self.number(OPEN, ino.0)
    }

    pub(super) fn open(self, ino: Ino, session: SessionId) -> Vec<u8> {
        self.numbers(OPEN, ino.0, session.0)
    }

    pub(super) fn locks(self, ino: Ino) -> Vec<u8> {
        self.number(b'f', ino.0)
    }

    pub(super) fn locks_of_session(self, ino: Ino, session: SessionId) -> Vec<u8> {
        self.numbers(b'f', ino.0, session.0)
    }

    pub(super) fn locks_of(self, ino: Ino, owner: LockOwner) -> Vec<u8> {
        join(self.locks_of_session(ino, owner.session), &owner.owner.to_be_bytes())
    }

    pub(super) fn opened_by(self, session: SessionId) -> Vec<u8> {
        self.number(b'q', session.0)
    }

    pub(super) fn opened(self, session: SessionId, ino: Ino) -> Vec<u8> {
        self.numbers(b'q', session.0, ino.0)
    }
}

pub(super) const GAP: u8 = b'm';
pub(super) const NEVER_USED: u8 = b'z';
pub(super) const VOLUME: u8 = b'v';
pub(super) const SESSION: u8 = b's';
pub(super) const REPLICA_SET: u8 = b'r';
const RESULT: u8 = b'a';
pub(super) const INODE: u8 = b'i';
pub(super) const ORPHAN: u8 = b'o';
pub(super) const PENDING: u8 = b'p';
pub(super) const OPEN: u8 = b'h';

fn join(mut key: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    key.extend(rest);
    key
}

/// The integer that a key ends with.
pub(super) fn last_number(key: &[u8]) -> Result<u64> {
    let tail = key.last_chunk::<8>().ok_or_else(|| Error::Corrupt("a key is too short".into()))?;
    Ok(u64::from_be_bytes(*tail))
}

/// The byte after group and volume.
fn table_of(key: &[u8]) -> Option<u8> {
    key.get(12).copied()
}

fn format_of(key: &[u8]) -> u8 {
    match table_of(key) {
        Some(INODE | RESULT) => INODE_FORMAT,
        _ => FORMAT,
    }
}

pub(super) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![format_of(key)])
        .map_err(|err| Error::Internal(format!("encoding a row of the MRC: {err}")))
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    let bad = |why: &dyn std::fmt::Display| {
        Error::Corrupt(format!("row {key:02x?} of the MRC's database: {why}"))
    };
    match value.split_first() {
        Some((&format, rest)) if format == format_of(key) => {
            postcard::from_bytes(rest).map_err(|err| bad(&err))
        }
        // It lacks the last field: absent is a zero.
        Some((&FORMAT, rest)) if table_of(key) == Some(INODE) => {
            postcard::from_bytes(&[rest, &[0]].concat()).map_err(|err| bad(&err))
        }
        Some((format, _)) => Err(bad(&format!("unknown format {format}"))),
        None => Err(bad(&"empty")),
    }
}

pub(super) fn load<T: DeserializeOwned>(read: &dyn Read, key: &[u8]) -> Result<Option<T>> {
    read.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// What was answered to a request. One of the first format is forgotten: a refusal, as the request was carried out.
pub(super) fn load_result(read: &dyn Read, key: &[u8]) -> Result<Option<Reply>> {
    match read.get(key)? {
        Some(value) if value.first() == Some(&FORMAT) => {
            let why = "the answer to the request was remembered by an older version";
            Ok(Some(Err(Error::Invalid(why.into()))))
        }
        value => value.map(|value| decode(key, &value)).transpose(),
    }
}

pub(super) fn store<T: Serialize>(tx: &mut Transaction<'_>, key: &[u8], value: &T) -> Result<()> {
    tx.put(key, &encode(key, value)?);
    Ok(())
}
