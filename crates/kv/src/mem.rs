//! A store in memory. What was not synced can be made to vanish, as in a power cut.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use xtfs_core::{Error, Result};

use crate::{Batch, Durability, KeyRange, Kv, Pair, Read};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
pub struct MemKv {
    state: RwLock<State>,
}

/// Shared until the next write, so that a snapshot costs nothing.
#[derive(Debug, Default)]
struct State {
    now: Arc<Map>,
    synced: Arc<Map>,
}

impl MemKv {
    /// Forgets what was not synced.
    pub fn cut_power(&self) {
        let mut state = self.state.write();
        state.now = Arc::clone(&state.synced);
    }
}

impl Read for MemKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.state.read().now.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        Ok(scan(&self.state.read().now, range, limit))
    }
}

impl Kv for MemKv {
    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        let mut state = self.state.write();
        let now = Arc::make_mut(&mut state.now);
        for (key, change) in batch {
            match change {
                Some(value) => now.insert(key, value),
                None => now.remove(&key),
            };
        }
        if durability == Durability::Synced {
            state.synced = Arc::clone(&state.now);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.state.write();
        state.synced = Arc::clone(&state.now);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Read + '_> {
        Box::new(Snapshot(Arc::clone(&self.state.read().now)))
    }

    fn checkpoint(&self, path: &Path) -> Result<()> {
        Err(Error::NotSupported(format!(
            "a store in memory has no files to put at {}",
            path.display()
        )))
    }
}

#[derive(Debug)]
struct Snapshot(Arc<Map>);

impl Read for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        Ok(scan(&self.0, range, limit))
    }
}

fn scan(map: &Map, range: &KeyRange, limit: usize) -> Vec<Pair> {
    if range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return Vec::new();
    }
    let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let pairs = map.range::<Vec<u8>, _>((Bound::Included(&range.start), end));
    pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
}
