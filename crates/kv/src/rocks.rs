//! The store on disk: RocksDB, set up so that what it recovers is a prefix of what was written.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, ErrorKind, LogLevel, Options,
    ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};
use xtfs_core::{Error, Result, checksum};

use crate::{Batch, Durability, KeyRange, Kv, Pair, Read};

/// Bits per key of the Bloom filters: one false positive in a hundred.
const BLOOM_BITS: f64 = 10.0;
/// Files kept open; more are opened and closed as needed.
const OPEN_FILES_MAX: i32 = 1024;
/// Bytes and number of RocksDB's own log files.
const INFO_LOG_BYTES_MAX: usize = 8 << 20;
const INFO_LOG_FILES_MAX: usize = 4;
/// Beside the files of RocksDB: how far the store was synced at least. See [`SyncedMark`].
const MARK_FILE: &str = "SYNCED";

/// Memory that a store may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Blocks, indexes and filters that were read.
    pub cache_bytes: usize,
    /// Writes that are not in a sorted file yet. Up to three times this while they are flushed.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        RocksOptions { cache_bytes: 64 << 20, write_buffer_bytes: 32 << 20 }
    }
}

pub struct RocksKv {
    db: DB,
    mark: SyncedMark,
}

impl std::fmt::Debug for RocksKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksKv({})", self.db.path().display())
    }
}

impl RocksKv {
    /// Opens the store at `path`, which is made if its parent exists.
    pub fn open(path: &Path, options: RocksOptions) -> Result<Self> {
        // The binding would make all parents, and hide that a disk is not mounted.
        if !path.exists() {
            fs::create_dir(path).map_err(|err| {
                Error::Internal(format!("cannot create {}: {err}", path.display()))
            })?;
        }
        refuse_remains(path)?;
        let db = DB::open(&rocks_options(options), path).map_err(|err| open_error(path, &err))?;
        let mark = SyncedMark::open(path, db.latest_sequence_number())?;
        Ok(RocksKv { db, mark })
    }

    fn error(&self, doing: &str, err: &rocksdb::Error) -> Error {
        error(self.db.path(), doing, err)
    }

    /// Runs `sync` and notes that everything written before is on disk.
    fn synced(&self, sync: impl FnOnce() -> Result<(), rocksdb::Error>) -> Result<()> {
        let written = self.db.latest_sequence_number();
        sync().map_err(|err| self.error("cannot sync", &err))?;
        self.mark.raise(written)
    }
}

impl Read for RocksKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(|err| self.error("cannot read", &err))
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        let iterator = self.db.raw_iterator_opt(scan_options(range));
        scan(iterator, range, limit).map_err(|err| self.error("cannot read", &err))
    }
}

impl Kv for RocksKv {
    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        let mut changes = WriteBatch::default();
        for (key, change) in batch {
            match change {
                Some(value) => changes.put(key, value),
                None => changes.delete(key),
            }
        }
        let mut options = WriteOptions::default();
        match durability {
            Durability::Process => {
                self.db.write_opt(changes, &options).map_err(|err| self.error("cannot write", &err))
            }
            Durability::Synced => {
                options.set_sync(true);
                self.synced(|| self.db.write_opt(changes, &options))
            }
        }
    }

    fn sync(&self) -> Result<()> {
        self.synced(|| self.db.flush_wal(true))
    }

    fn snapshot(&self) -> Box<dyn Read + '_> {
        Box::new(Snapshot { snapshot: self.db.snapshot(), path: self.db.path() })
    }

    fn checkpoint(&self, path: &Path) -> Result<()> {
        // Without the flush it would be a state from before the newest writes.
        self.db.flush().map_err(|err| self.error("cannot flush", &err))?;
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|err| self.error("cannot make a checkpoint", &err))
    }
}

struct Snapshot<'a> {
    snapshot: SnapshotWithThreadMode<'a, DB>,
    path: &'a Path,
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({})", self.path.display())
    }
}

impl Read for Snapshot<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot.get(key).map_err(|err| error(self.path, "cannot read", &err))
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        let iterator = self.snapshot.raw_iterator_opt(scan_options(range));
        scan(iterator, range, limit).map_err(|err| error(self.path, "cannot read", &err))
    }
}

fn rocks_options(options: RocksOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(options.cache_bytes));
    table.set_bloom_filter(BLOOM_BITS, false);
    // Else they are outside of the cache's bound.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut rocks = Options::default();
    rocks.create_if_missing(true);
    rocks.set_paranoid_checks(true);
    // After a power cut the unsynced tail is torn anywhere: what comes before the tear is kept. That
    // a tear is not before what was synced is for the mark to say.
    rocks.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    rocks.set_track_and_verify_wals_in_manifest(true);
    rocks.set_block_based_table_factory(&table);
    rocks.set_compression_type(DBCompressionType::Lz4);
    rocks.set_write_buffer_size(options.write_buffer_bytes);
    rocks.set_max_open_files(OPEN_FILES_MAX);
    rocks.set_log_level(LogLevel::Warn);
    rocks.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    rocks.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    rocks
}

fn scan_options(range: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    if let Some(end) = &range.end {
        options.set_iterate_upper_bound(end.clone());
    }
    options
}

fn scan<D: rocksdb::DBAccess>(
    mut iterator: rocksdb::DBRawIteratorWithThreadMode<'_, D>,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<Pair>, rocksdb::Error> {
    let mut pairs = Vec::new();
    if limit == 0 || range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return Ok(pairs);
    }
    iterator.seek(&range.start);
    while let Some((key, value)) = iterator.item() {
        pairs.push((key.to_vec(), value.to_vec()));
        if pairs.len() == limit {
            return Ok(pairs);
        }
        iterator.next();
    }
    iterator.status()?;
    Ok(pairs)
}

/// Files of a store without the one that names its newest state: RocksDB would take the directory
/// for a new store and delete them.
fn refuse_remains(path: &Path) -> Result<()> {
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") || name == MARK_FILE {
            return Err(corrupt(path, &format!("{name} is there but CURRENT is not")));
        }
    }
    Ok(())
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::Corrupt(format!(
        "{}: {what}; restore this directory from a copy, or empty it and let the service start anew \
         if its content can be spared",
        path.display()
    ))
}

fn open_error(path: &Path, err: &rocksdb::Error) -> Error {
    let text = err.to_string();
    if text.contains("lock hold by current process") || text.contains("While lock file") {
        return Error::Busy(format!("{} is in use: {text}", path.display()));
    }
    // A file that the manifest names and that is not there.
    let lost = err.kind() == ErrorKind::IOError
        && text.contains("No such file or directory")
        && path.join("CURRENT").exists();
    if lost {
        return corrupt(path, &text);
    }
    error(path, "cannot open", err)
}

fn error(path: &Path, doing: &str, err: &rocksdb::Error) -> Error {
    let text = err.to_string();
    if err.kind() == ErrorKind::Corruption {
        corrupt(path, &text)
    } else if text.contains("No space left on device") || text.contains("NoSpace") {
        Error::NoSpace(format!("{}: {doing}: {text}", path.display()))
    } else {
        Error::Internal(format!("{}: {doing}: {text}", path.display()))
    }
}

/// How far the store was synced at least: the sequence number of a write and its CRC-32.
///
/// A damaged record makes recovery end there, as a power cut would; only that all before the mark
/// must be there tells the two apart. The mark is written after the sync that it speaks of and
/// never synced itself, so what of it is on disk is true and costs nothing.
struct SyncedMark {
    path: PathBuf,
    file: File,
    raised: Mutex<u64>,
}

impl SyncedMark {
    fn open(store: &Path, recovered: u64) -> Result<Self> {
        let path = store.join(MARK_FILE);
        let failed = |err| Error::Internal(format!("{}: cannot open: {err}", path.display()));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(&path).map_err(failed)?;
        let synced = Self::read(&file).unwrap_or(0);
        if recovered < synced {
            return Err(corrupt(
                store,
                &format!(
                    "the write-ahead log ends at {recovered} but was synced up to {synced}: a .log \
                     file is damaged or lost"
                ),
            ));
        }
        Ok(SyncedMark { path, file, raised: Mutex::new(synced) })
    }

    /// None if there is none, or a damaged one: then nothing is known.
    fn read(file: &File) -> Option<u64> {
        let mut bytes = [0; 12];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (number, sum) = bytes.split_first_chunk::<8>()?;
        (checksum::sum(number).to_be_bytes() == *sum).then(|| u64::from_be_bytes(*number))
    }

    fn raise(&self, synced: u64) -> Result<()> {
        let mut raised = self.raised.lock();
        if synced <= *raised {
            return Ok(());
        }
        let number = synced.to_be_bytes();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&checksum::sum(&number).to_be_bytes());
        let failed = |err| Error::Internal(format!("{}: cannot write: {err}", self.path.display()));
        self.file.write_all_at(&bytes, 0).map_err(failed)?;
        *raised = synced;
        Ok(())
    }
}
