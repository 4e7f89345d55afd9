//! One ordered store for the log and the state, so that a power cut leaves a prefix of both.
//!
//! | key | value |
//! |---|---|
//! | `L` `c` | committed log id |
//! | `L` `e` index | log entry |
//! | `L` `l` | last log id |
//! | `L` `m` | id of this member |
//! | `L` `p` | purged log id |
//! | `L` `t` | last term with the index of its first entry |
//! | `L` `v` | vote |
//! | `A` | applied log id and membership; written with the state that they speak of |
//! | `S` … | state of the machine |
//!
//! Integers are big-endian. A value of `L` and `A` is a format byte and postcard.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xtfs_core::{Error, Result};
use xtfs_kv::{Batch, Durability, KeyRange, Kv, Prefixed, Read, RocksKv, RocksOptions};

use crate::directory;

pub(crate) const LOG: &[u8] = b"L";
pub(crate) const COMMITTED: &[u8] = b"Lc";
pub(crate) const ENTRY: &[u8] = b"Le";
pub(crate) const LAST: &[u8] = b"Ll";
pub(crate) const MEMBER: &[u8] = b"Lm";
pub(crate) const PURGED: &[u8] = b"Lp";
pub(crate) const TERM: &[u8] = b"Lt";
pub(crate) const VOTE: &[u8] = b"Lv";
pub(crate) const APPLIED: &[u8] = b"A";
pub(crate) const STATE: &[u8] = b"S";

const FORMAT: u8 = 1;
/// Pairs copied at a time when a snapshot is installed.
const COPY_PAIRS_MAX: usize = 256;
/// How long a store may take to be closed, and the time between two looks.
const CLOSING_MAX: Duration = Duration::from_secs(2);
const CLOSING_PAUSE: Duration = Duration::from_millis(20);

/// The store in use. Another takes its place when a snapshot is installed.
#[derive(Debug)]
pub(crate) struct Store {
    current: RwLock<Arc<dyn Kv>>,
    /// None: in memory.
    dir: Option<PathBuf>,
    options: RocksOptions,
}

impl Store {
    pub(crate) fn in_memory(kv: Arc<dyn Kv>) -> Self {
        Store { current: RwLock::new(kv), dir: None, options: RocksOptions::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "on the member's own thread, which does no more")]
    pub(crate) fn open(dir: &Path, options: RocksOptions) -> Result<Self> {
        let path = directory::prepare(dir)?;
        let give_up = Instant::now() + CLOSING_MAX;
        let kv = loop {
            match RocksKv::open(&path, options) {
                // A member of this process that was dropped just now is still closing it.
                Err(Error::Busy(_)) if Instant::now() < give_up => thread::sleep(CLOSING_PAUSE),
                opened => break opened?,
            }
        };
        Ok(Store { current: RwLock::new(Arc::new(kv)), dir: Some(dir.to_owned()), options })
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// For reading. After a snapshot was installed it is a superseded store, which is still whole.
    pub(crate) fn kv(&self) -> Arc<dyn Kv> {
        Arc::clone(&self.current.read())
    }

    /// Not while another store takes the place of this one: what it copies must be all.
    pub(crate) fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.current.read().write(batch, durability)
    }

    pub(crate) fn put<T: Serialize>(&self, key: &[u8], value: &T) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(key, &encode(value));
        self.write(batch, Durability::Synced)
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.current.read().sync()
    }

    pub(crate) fn load<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        load(&*self.kv(), key)
    }

    /// Runs `act` on one instant of the machine's state.
    pub(crate) fn view<T>(&self, act: impl FnOnce(&dyn Read) -> T) -> T {
        let kv = self.kv();
        let snapshot = kv.snapshot();
        act(&Prefixed::new(&*snapshot, STATE))
    }

    /// Puts the store in `files`, with the log of the present one, in its place.
    ///
    /// The log is kept because entries past the snapshot may have been confirmed to a leader, and
    /// the vote because it was given.
    pub(crate) fn replace(&self, files: &Path) -> Result<()> {
        let Some(dir) = &self.dir else {
            return Err(Error::NotSupported("a store in memory takes no snapshot".to_owned()));
        };
        let next = directory::adopt(dir, files)?;
        let mut current = self.current.write();
        let kv = RocksKv::open(&next, self.options)?;
        copy(None, &kv, LOG)?;
        copy(Some(&**current), &kv, LOG)?;
        kv.sync()?;
        directory::switch(dir, &next)?;
        *current = Arc::new(kv);
        Ok(())
    }
}

/// Makes the keys of `to` below `prefix` those of `from`; of nothing: deletes them.
fn copy(from: Option<&dyn Kv>, to: &dyn Kv, prefix: &[u8]) -> Result<()> {
    let source = from.unwrap_or(to);
    let mut range = KeyRange::prefix(prefix);
    loop {
        let pairs = source.scan(&range, COPY_PAIRS_MAX)?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        range = KeyRange::prefix_after(prefix, last);
        let mut batch = Batch::default();
        for (key, value) in pairs {
            match from {
                Some(_) => batch.put(&key, &value),
                None => batch.delete(&key),
            }
        }
        to.write(batch, Durability::Process)?;
    }
}

pub(crate) fn entry_key(index: u64) -> Vec<u8> {
    [ENTRY, &index.to_be_bytes()].concat()
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let encoded = postcard::to_extend(value, vec![FORMAT]);
    encoded.expect("our types have lengths and no foreign serializer")
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    let corrupt = |why: String| Error::Corrupt(format!("log record {}: {why}", key.escape_ascii()));
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|err| corrupt(err.to_string())),
        Some((other, _)) => Err(corrupt(format!("unknown format {other}"))),
        None => Err(corrupt("empty".to_owned())),
    }
}

pub(crate) fn load<T: DeserializeOwned>(read: &dyn Read, key: &[u8]) -> Result<Option<T>> {
    read.get(key)?.map(|value| decode(key, &value)).transpose()
}
