//! What a service runs on the log, and how its entries are applied.

use std::fmt::Debug;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xtfs_core::{Error, Result};
use xtfs_kv::{Durability, Prefixed, Transaction};

use crate::log::Shared;
use crate::snapshot::StateFiles;
use crate::store::{APPLIED, STATE, encode};
use crate::types::{Commands, Entry, LogId, Replies, StorageError, StoredMembership, Types};

pub trait StateMachine: Debug + Send + Sync + 'static {
    type Command: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    type Reply: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;

    /// Deterministic: the command carries its time, ids and choices. A business error is a
    /// [`StateMachine::Reply`]; what such a command wrote before is its own to undo, with
    /// [`Transaction::nested`]. `Err` stops this member, and no other goes on either.
    fn apply(&self, command: Self::Command, tx: &mut Transaction<'_>) -> Result<Self::Reply>;

    /// Whether `command` gives space back, so that it is let through on a disk that is nearly full.
    fn frees_space(&self, _command: &Self::Command) -> bool {
        false
    }
}

/// A machine whose commands and replies are bytes.
pub(crate) trait Apply: Debug + Send + Sync {
    fn apply(&self, command: &[u8], tx: &mut Transaction<'_>) -> Result<Vec<u8>>;
}

#[derive(Debug)]
pub(crate) struct Coded<S>(pub(crate) Arc<S>);

impl<S: StateMachine> Apply for Coded<S> {
    fn apply(&self, command: &[u8], tx: &mut Transaction<'_>) -> Result<Vec<u8>> {
        Ok(to_bytes(&self.0.apply(from_bytes(command)?, tx)?))
    }
}

pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a command or reply has lengths and no foreign serializer")
}

pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|err| {
        Error::Corrupt(format!("a {} in the log: {err}", std::any::type_name::<T>()))
    })
}

/// Up to where the state is, stored with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// Applies entries to the store. `Clone` so that it can build snapshots while it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
    machine: Arc<dyn Apply>,
    /// As in the store. `None`: it is not known what is there.
    applied: Arc<Mutex<Option<Applied>>>,
}

impl Machine {
    pub(crate) fn new(shared: Arc<Shared>, machine: Arc<dyn Apply>) -> Self {
        Machine { shared, machine, applied: Arc::default() }
    }

    fn applied(&self) -> Result<Applied> {
        let kept = self.applied.lock().clone();
        match kept {
            Some(applied) => Ok(applied),
            None => Ok(self.shared.store.load(APPLIED)?.unwrap_or_default()),
        }
    }

    /// Everything in one batch together with how far it is: there is no state between two entries.
    fn apply_entries(&self, entries: &[Entry]) -> Result<Vec<Replies>> {
        let mut applied = self.applied()?;
        let membership = applied.membership.clone();
        let mut replies = Vec::with_capacity(entries.len());
        let batch = {
            let kv = self.shared.store.kv();
            let state = Prefixed::new(&*kv, STATE);
            let mut tx = Transaction::new(&state);
            for entry in entries {
                replies.push(self.apply_entry(entry, &mut applied, &mut tx)?);
            }
            let mut batch = tx.into_batch().prefixed(STATE);
            batch.put(APPLIED, &encode(&applied));
            batch
        };
        // Unsynced: what a power cut takes of it, the log replays.
        let written = self.shared.store.write(batch, Durability::Process);
        *self.applied.lock() = written.is_ok().then(|| applied.clone());
        written?;
        if applied.membership != membership {
            self.shared.set_alone(&applied.membership);
        }
        self.shared.progress.apply(applied.last.map_or(0, |id| id.index));
        Ok(replies)
    }

    fn apply_entry(
        &self,
        entry: &Entry,
        applied: &mut Applied,
        tx: &mut Transaction<'_>,
    ) -> Result<Replies> {
        applied.last = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => Ok(Replies::default()),
            EntryPayload::Normal(commands) => self.apply_commands(commands, tx),
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Ok(Replies::default())
            }
        }
    }

    fn apply_commands(&self, commands: &Commands, tx: &mut Transaction<'_>) -> Result<Replies> {
        let apply = |command: Option<&[u8]>| {
            let cut_off = || Error::Corrupt("a command in the log is cut off".to_owned());
            self.machine.apply(command.ok_or_else(cut_off)?, tx)
        };
        Ok(Replies(commands.iter().map(apply).collect::<Result<_>>()?))
    }

    fn meta(applied: Applied) -> SnapshotMeta<u64, openraft::BasicNode> {
        let index = applied.last.map_or(0, |id| id.index);
        SnapshotMeta {
            last_log_id: applied.last,
            last_membership: applied.membership,
            snapshot_id: index.to_string(),
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied();
        let applied =
            applied.map_err(|err| StorageIOError::read_state_machine(self.shared.fault(err)))?;
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.apply_entries(&entries)
            .map_err(|err| StorageIOError::write_state_machine(self.shared.fault(err)).into())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<StateFiles>, StorageError> {
        let files = StateFiles::incoming(&self.shared.store);
        let files =
            files.map_err(|err| StorageIOError::write_snapshot(None, self.shared.fault(err)))?;
        Ok(Box::new(files))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, openraft::BasicNode>,
        snapshot: Box<StateFiles>,
    ) -> Result<(), StorageError> {
        let replace = move |shared: &Shared| {
            let path = snapshot
                .path()
                .ok_or_else(|| Error::NotSupported("a snapshot of a store in memory".to_owned()))?;
            shared.store.replace(path)
        };
        let install = async {
            let replaced = self.shared.blocking(replace).await;
            *self.applied.lock() = None;
            replaced?;
            let applied = self.applied()?;
            if applied.last != meta.last_log_id {
                return Err(Error::Corrupt(format!(
                    "a snapshot is up to {:?} where {:?} was announced",
                    applied.last, meta.last_log_id
                )));
            }
            self.shared.set_alone(&applied.membership);
            self.shared.progress.apply(applied.last.map_or(0, |id| id.index));
            Ok(())
        };
        let installed = install.await;
        installed.map_err(|err| {
            StorageIOError::write_snapshot(Some(meta.signature()), self.shared.fault(err)).into()
        })
    }

    /// A fresh one each time: the files are links, and a newer one saves entries.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = async {
            let applied = self.applied()?;
            if applied.last.is_none() {
                return Ok(None);
            }
            let files = self.shared.blocking(|shared| StateFiles::of(&shared.store)).await?;
            // Nothing is applied meanwhile: openraft asks from the task that applies.
            Ok(Some(Snapshot { meta: Self::meta(applied), snapshot: Box::new(files) }))
        };
        let snapshot = read.await;
        snapshot.map_err(|err| StorageIOError::read_snapshot(None, self.shared.fault(err)).into())
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    /// Says up to where the state is, which is all that openraft needs to purge the log: the state
    /// on disk is the snapshot. Files are made when a member asks for them.
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let applied = self.applied();
        let applied =
            applied.map_err(|err| StorageIOError::read_snapshot(None, self.shared.fault(err)))?;
        Ok(Snapshot { meta: Self::meta(applied), snapshot: Box::new(StateFiles::none()) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use openraft::CommittedLeaderId;
    use tempfile::TempDir;
    use xtfs_kv::{Read, RocksOptions};

    use super::*;
    use crate::store::Store;

    /// Counts the commands.
    #[derive(Debug)]
    struct Counter;

    impl Apply for Counter {
        fn apply(&self, _command: &[u8], tx: &mut Transaction<'_>) -> Result<Vec<u8>> {
            let before = tx.get(b"count")?.map_or(0, |count| count[0]);
            tx.put(b"count", &[before + 1]);
            Ok(vec![before + 1])
        }
    }

    fn machine() -> (TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), RocksOptions::default()).unwrap();
        (folder, Machine::new(Shared::open(store).unwrap(), Arc::new(Counter)))
    }

    /// Applies the entry at `index`, and returns what it counted.
    async fn count(machine: &mut Machine, index: u64) -> u8 {
        let log_id = LogId::new(CommittedLeaderId::new(1, 0), index);
        let payload = EntryPayload::Normal(Commands::pack([b"".as_slice()].into_iter()));
        let replies = machine.apply([Entry { log_id, payload }]).await.unwrap();
        replies[0].0[0][0]
    }

    #[tokio::test]
    async fn what_was_read_before_a_snapshot_is_not_relied_on_after_it() {
        let ((_ahead, mut ahead), (_behind, mut behind)) = (machine(), machine());
        for index in 1..=5 {
            assert_eq!(count(&mut ahead, index).await, u8::try_from(index).unwrap());
        }
        assert_eq!(count(&mut behind, 1).await, 1);
        let snapshot = ahead.get_current_snapshot().await.unwrap().unwrap();
        let files = behind.begin_receiving_snapshot().await.unwrap();
        let (from, to) = (snapshot.snapshot.path().unwrap(), files.path().unwrap());
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        behind.install_snapshot(&snapshot.meta, files).await.unwrap();
        assert_eq!(count(&mut behind, 6).await, 6);
    }
}
