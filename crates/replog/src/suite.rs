//! openraft's own tests of a store, against ours.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use xtfs_core::Result;
use xtfs_kv::{RocksOptions, Transaction};

use crate::log::{Log, Shared};
use crate::machine::{Apply, Machine};
use crate::store::Store;
use crate::types::{StorageError, Types};

#[derive(Debug)]
struct Nothing;

impl Apply for Nothing {
    fn apply(&self, _command: &[u8], _tx: &mut Transaction<'_>) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), RocksOptions::default()).unwrap();
        let shared = Shared::open(store).unwrap();
        let log = Log::new(Arc::clone(&shared)).unwrap();
        Ok((dir, log, Machine::new(shared, Arc::new(Nothing))))
    }
}

#[test]
fn the_store_passes_the_suite() {
    Suite::test_all(Builder).unwrap();
}
