//! The log for openraft: entries, vote, and what was committed and purged.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use xtfs_core::{Error, Result};
use xtfs_kv::{Batch, Durability, KeyRange};

use crate::machine::Applied;
use crate::progress::Progress;
use crate::store::{
    APPLIED, COMMITTED, ENTRY, LAST, MEMBER, PURGED, Store, TERM, VOTE, decode, encode, entry_key,
};
use crate::types::{Entry, LogId, StorageError, StoredMembership, Types, Vote};

/// Entries kept in memory: they are read again at once, to be applied and to be sent.
const RECENT_ENTRIES_MAX: usize = 64;
/// Entries and bytes read from the store at a time.
const READ_ENTRIES_MAX: usize = 64;
const SEND_BYTES_MAX: usize = 4 << 20;

/// What log, state machine and proposers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) progress: Progress,
    pub(crate) member: u64,
    /// Whether this member is the whole group, so that entries may be synced later.
    alone: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    recent: Arc<Mutex<VecDeque<Entry>>>,
    /// Written with the next entry: it only saves work at a start, because the state is there.
    committed: Arc<Mutex<Option<LogId>>>,
}

impl Shared {
    /// Takes up what `store` holds. A new store gets a new member id, also on a wiped disk: one
    /// that forgot its vote must not vote under the old name.
    pub(crate) fn open(store: Store) -> Result<Arc<Self>> {
        let member = match store.load(MEMBER)? {
            Some(member) => member,
            None => new_member(&store)?,
        };
        // A member that led takes its vote back, so that it leads again only under a new term: what
        // a power cut took must not get the same names again.
        if let Some(mut vote) = store.load::<Vote>(VOTE)?
            && vote.leader_id.voted_for() == Some(member)
        {
            vote.committed = false;
            store.put(VOTE, &vote)?;
        }
        store.sync()?;
        let last: Option<LogId> = store.load(LAST)?;
        let applied: Applied = store.load(APPLIED)?.unwrap_or_default();
        let term = store.load(TERM)?.unwrap_or_default();
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let shared = Shared {
            progress: Progress::new(index(last), index(applied.last), term),
            store,
            member,
            alone: AtomicBool::new(false),
        };
        shared.set_alone(&applied.membership);
        Ok(Arc::new(shared))
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// `membership` is in force and committed.
    pub(crate) fn set_alone(&self, membership: &StoredMembership) {
        let mut nodes = membership.nodes().map(|(id, _)| *id);
        let alone = nodes.next() == Some(self.member) && nodes.next().is_none();
        self.alone.store(alone, Ordering::Release);
    }

    /// Keeps the cause, which openraft would turn into text, and passes it on.
    pub(crate) fn fault(&self, fault: Error) -> AnyError {
        let text = fault.to_string();
        self.progress.fail(fault);
        AnyError::error(text)
    }

    fn read_error(&self, fault: Error) -> StorageError {
        StorageIOError::read_logs(self.fault(fault)).into()
    }

    fn write_error(&self, fault: Error) -> StorageError {
        StorageIOError::write_logs(self.fault(fault)).into()
    }

    /// On a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || act(&shared)).await;
        done.unwrap_or_else(|err| Err(Error::Internal(format!("a write to the log: {err}"))))
    }
}

fn new_member(store: &Store) -> Result<u64> {
    let id = xtfs_core::InstanceId::generate().to_wire();
    let (_, random) = id.split_last_chunk::<8>().expect("an id has 16 bytes");
    let member = u64::from_be_bytes(*random);
    store.put(MEMBER, &member)?;
    Ok(member)
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let log = Log {
            committed: Arc::new(Mutex::new(shared.store.load(COMMITTED)?)),
            recent: Arc::default(),
            shared,
        };
        // A second member that was added and not applied yet.
        let after = log.shared.progress.applied() + 1;
        for entry in log.read(after, u64::MAX, usize::MAX)? {
            log.note_membership(&entry);
        }
        Ok(log)
    }

    /// From before the entry is written: a group that grows syncs the entry that says so.
    fn note_membership(&self, entry: &Entry) {
        if let EntryPayload::Membership(membership) = &entry.payload
            && membership.nodes().any(|(id, _)| *id != self.shared.member)
        {
            self.shared.alone.store(false, Ordering::Release);
        }
    }

    /// Entries from `start` to before `end`, as many as there are, at least one, and not much more
    /// than `bytes_max`.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>> {
        if let Some(entries) = self.read_recent(start, end) {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut range = KeyRange { start: entry_key(start), end: KeyRange::prefix(ENTRY).end };
        if end != u64::MAX {
            range.end = Some(entry_key(end));
        }
        loop {
            let pairs = self.shared.store.kv().scan(&range, READ_ENTRIES_MAX)?;
            let Some((last, _)) = pairs.last() else { return Ok(entries) };
            range.start = [last.as_slice(), &[0]].concat();
            for (key, value) in pairs {
                bytes += value.len();
                entries.push(decode(&key, &value)?);
                if bytes >= bytes_max {
                    return Ok(entries);
                }
            }
        }
    }

    fn read_recent(&self, start: u64, end: u64) -> Option<Vec<Entry>> {
        let recent = self.recent.lock();
        let first = recent.front()?.log_id.index;
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        let count = usize::try_from(end.checked_sub(start)?).ok()?;
        let whole = skip.checked_add(count)? <= recent.len();
        whole.then(|| recent.iter().skip(skip).take(count).cloned().collect())
    }

    fn keep_recent(&self, entries: Vec<Entry>) {
        let mut recent = self.recent.lock();
        for entry in entries {
            let next = recent.back().map(|last| last.log_id.index + 1);
            if next != Some(entry.log_id.index) {
                recent.clear();
            }
            if recent.len() == RECENT_ENTRIES_MAX {
                recent.pop_front();
            }
            recent.push_back(entry);
        }
    }

    /// The batch that holds `entries`, and the last term with its first index after them.
    fn encode(&self, entries: &[Entry]) -> (Batch, (u64, u64)) {
        let mut batch = Batch::default();
        let mut term = self.shared.progress.term();
        for entry in entries {
            batch.put(&entry_key(entry.log_id.index), &encode(entry));
            let of_entry = entry.log_id.leader_id.term;
            if of_entry != term.0 {
                term = (of_entry, entry.log_id.index);
            }
        }
        if term != self.shared.progress.term() {
            batch.put(TERM, &encode(&term));
        }
        if let Some(last) = entries.last() {
            batch.put(LAST, &encode(&last.log_id));
        }
        if let Some(committed) = *self.committed.lock() {
            batch.put(COMMITTED, &encode(&committed));
        }
        (batch, term)
    }

    async fn write(&self, entries: Vec<Entry>) -> Result<()> {
        self.shared.progress.check()?;
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else { return Ok(()) };
        for entry in &entries {
            self.note_membership(entry);
        }
        let (batch, term) = self.encode(&entries);
        let alone = self.shared.is_alone();
        if alone {
            self.shared.store.write(batch, Durability::Process)?;
        } else {
            let write = move |shared: &Shared| shared.store.write(batch, Durability::Synced);
            self.shared.blocking(write).await?;
        }
        self.keep_recent(entries);
        self.shared.progress.append(last, term);
        if !alone {
            self.shared.progress.make_durable(last);
        }
        Ok(())
    }

    /// Deletes entries from `start` to before `end` into `batch`.
    fn delete(&self, start: u64, end: u64, batch: &mut Batch) -> Result<()> {
        let mut range = KeyRange { start: entry_key(start), end: Some(entry_key(end)) };
        loop {
            let pairs = self.shared.store.kv().scan(&range, READ_ENTRIES_MAX)?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            range.start = [last.as_slice(), &[0]].concat();
            for (key, _) in &pairs {
                batch.delete(key);
            }
        }
    }

    fn state(&self) -> Result<LogState<Types>> {
        let last_purged_log_id = self.shared.store.load(PURGED)?;
        let last: Option<LogId> = self.shared.store.load(LAST)?;
        Ok(LogState { last_purged_log_id, last_log_id: last.max(last_purged_log_id) })
    }

    async fn cut(&self, since: LogId) -> Result<()> {
        let mut batch = Batch::default();
        self.delete(since.index, u64::MAX, &mut batch)?;
        let last = match since.index.checked_sub(1) {
            Some(index) => self.read(index, index + 1, usize::MAX)?.first().map(|e| e.log_id),
            None => None,
        };
        match last.max(self.shared.store.load(PURGED)?) {
            Some(last) => batch.put(LAST, &encode(&last)),
            None => batch.delete(LAST),
        }
        self.recent.lock().clear();
        self.shared.blocking(move |shared| shared.store.write(batch, Durability::Synced)).await?;
        self.shared.progress.truncate(since.index);
        Ok(())
    }

    /// Needs no sync: the state that the entries made was written before into the same store, and a
    /// power cut leaves a prefix of what was written.
    fn drop_until(&self, upto: LogId) -> Result<()> {
        let purged: Option<LogId> = self.shared.store.load(PURGED)?;
        if purged >= Some(upto) {
            return Ok(());
        }
        let mut batch = Batch::default();
        let first = purged.map_or(0, |id| id.index + 1);
        self.delete(first, upto.index + 1, &mut batch)?;
        batch.put(PURGED, &encode(&upto));
        if self.state()?.last_log_id < Some(upto) {
            batch.put(LAST, &encode(&upto));
        }
        let mut recent = self.recent.lock();
        while recent.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            recent.pop_front();
        }
        drop(recent);
        self.shared.store.write(batch, Durability::Process)
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).map_err(|err| self.shared.read_error(err))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, SEND_BYTES_MAX).map_err(|err| self.shared.read_error(err))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        self.state().map_err(|err| self.shared.read_error(err))
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let saved = self.shared.blocking(move |shared| shared.store.put(VOTE, &vote));
        let saved = saved.await;
        saved.map_err(|err| StorageIOError::write_vote(self.shared.fault(err)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.shared.store.load(VOTE);
        vote.map_err(|err| StorageIOError::read_vote(self.shared.fault(err)).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        *self.committed.lock() = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(*self.committed.lock())
    }

    async fn append<I>(&mut self, entries: I, done: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.write(entries).await.map_err(|err| self.shared.write_error(err))?;
        done.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.cut(since).await.map_err(|err| self.shared.write_error(err))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.drop_until(upto).map_err(|err| self.shared.write_error(err))
    }
}
