//! Ordered keys and values with transactions. Two implementations: RocksDB, and memory for tests.

mod mem;
mod prefixed;
mod rocks;
mod transaction;

use std::fmt::Debug;
use std::path::Path;

use xtfs_core::Result;

pub use mem::MemKv;
pub use prefixed::Prefixed;
pub use rocks::{RocksKv, RocksOptions};
pub use transaction::{Batch, Transaction};

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Keys from `start` to before `end`; no `end` is the end of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Vec<u8>,
    pub end: Option<Vec<u8>>,
}

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of this process.
    Process,
    /// Survives a power cut.
    Synced,
}

pub trait Read: Debug + Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The first `limit` pairs of `range`, in the order of their keys.
    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>>;
}

/// The narrowest waist of a service: everything above it is the same in tests.
pub trait Kv: Read + 'static {
    /// All of `batch` or nothing.
    fn write(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Makes every write that has returned survive a power cut.
    fn sync(&self) -> Result<()>;

    /// A view of this instant that later writes do not change.
    fn snapshot(&self) -> Box<dyn Read + '_>;

    /// Writes a copy of this instant to `path`, which must not exist.
    fn checkpoint(&self, path: &Path) -> Result<()>;
}

impl KeyRange {
    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        KeyRange { start: prefix.to_vec(), end: successor(prefix) }
    }

    /// Every key that begins with `prefix` and is greater than `after`.
    pub fn prefix_after(prefix: &[u8], after: &[u8]) -> Self {
        let mut start = after.to_vec();
        start.push(0);
        KeyRange { start: start.max(prefix.to_vec()), end: successor(prefix) }
    }
}

/// The smallest key that is greater than all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(KeyRange::prefix(b"ab").end.as_deref(), Some(b"ac".as_slice()));
        assert_eq!(KeyRange::prefix(b"a\xff").end.as_deref(), Some(b"b".as_slice()));
        assert_eq!(KeyRange::prefix(b"\xff\xff").end, None);
    }
}
