//! The columns in memory: found under a lock that is held for a moment, worked on under their own.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use xtfs_core::ColumnId;

use super::column::Column;

const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Columns {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Idle columns that a shard keeps.
    idle_max: usize,
}

#[derive(Debug)]
struct Shard {
    columns: HashMap<ColumnId, Arc<Column>>,
    /// At this size idle columns are forgotten.
    sweep_at: usize,
}

impl Columns {
    pub(super) fn new(idle_max: usize) -> Self {
        let idle_max = idle_max.div_ceil(SHARDS);
        let shard = || Mutex::new(Shard { columns: HashMap::new(), sweep_at: idle_max });
        Columns {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::new(),
            idle_max,
        }
    }

    pub(super) fn at(&self, id: ColumnId) -> Arc<Column> {
        // Below `SHARDS`, so it fits.
        #[expect(clippy::cast_possible_truncation)]
        let shard = (self.hasher.hash_one(id) % SHARDS as u64) as usize;
        let mut shard = self.shards[shard].lock();
        if let Some(column) = shard.columns.get(&id) {
            return Arc::clone(column);
        }
        if shard.columns.len() >= shard.sweep_at {
            // References are made under this lock only, so that nobody comes to one that goes.
            shard.columns.retain(|_, column| Arc::strong_count(column) > 1 || !is_idle(column));
            shard.sweep_at = self.idle_max.max(2 * shard.columns.len());
        }
        Arc::clone(shard.columns.entry(id).or_insert_with(|| Arc::new(Column::new(id))))
    }

    /// Columns with something that is not on disk, or with marks.
    pub(super) fn busy(&self) -> Vec<Arc<Column>> {
        let mut busy = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            busy.extend(shard.columns.values().filter(|column| !is_idle(column)).cloned());
        }
        busy
    }
}

/// A column whose lock is held is not.
fn is_idle(column: &Column) -> bool {
    column.state.try_read().is_some_and(|state| state.is_idle())
}
