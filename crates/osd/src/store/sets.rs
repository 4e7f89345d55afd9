//! Epochs of the replica sets that the target is a member of (O1).

use xtfs_core::{Error, ReplicaSetId, Result, SetEpoch};
use xtfs_kv::{Batch, Durability};

use super::{ReplicaSet, Store, record};

impl Store {
    /// Stores the epochs of sets; durable on return. A lower epoch than the stored one is ignored.
    pub fn configure_sets(&self, sets: &[(ReplicaSetId, ReplicaSet)]) -> Result<()> {
        let _one_at_a_time = self.sets.lock();
        let mut batch = Batch::default();
        for (id, set) in sets {
            if self.set(*id)?.is_none_or(|known| known.epoch < set.epoch) {
                batch.put(&record::set_key(*id), &record::encode(set)?);
            }
        }
        if batch.is_empty() { Ok(()) } else { self.kv.write(batch, Durability::Synced) }
    }

    /// `None`: never told.
    pub fn set(&self, set: ReplicaSetId) -> Result<Option<ReplicaSet>> {
        let key = record::set_key(set);
        self.kv.get(&key)?.map(|value| record::decode(&key, &value)).transpose()
    }

    /// The set is stored at exactly `epoch`. `UnknownSet`: this target is to be told of it first.
    pub fn check_set(&self, set: ReplicaSetId, epoch: SetEpoch) -> Result<()> {
        match self.set(set)? {
            Some(known) if known.epoch == epoch => Ok(()),
            Some(known) if known.epoch > epoch => {
                Err(Error::StaleSetEpoch { current: known.epoch })
            }
            _ => Err(Error::UnknownSet),
        }
    }
}
