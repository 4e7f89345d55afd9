//! One storage target: the columns that a data directory holds. Blocking; see `docs/format.md` for its bytes.

mod allocate;
mod boot;
mod buffers;
mod column;
mod columns;
mod delete;
mod dirty;
mod fence;
mod read;
mod record;
mod recover;
mod segment;
mod sets;
mod space;
mod sync;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use xtfs_core::{BootNumber, ColumnId, Error, Result, VolumeId};
use xtfs_kv::{Batch, Durability, KeyRange, Kv};

use self::buffers::Buffers;
use self::columns::Columns;
use self::record::{NeverUsed, Record};
use self::segment::{Segment, failed};
use self::space::Disk;

pub use boot::Environment;
pub use column::{ColumnState, Damage, Extent, Fence, Length, ReadOut, ReplicaSet};
pub use space::Space;

/// Columns of one page of a scan.
const PAGE: usize = 1024;

/// How a target is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the disk that are left free; `None` is the larger of 1 % and 1 GiB, at most a quarter.
    pub reserve: Option<u64>,
    /// Bytes that the target may fill. `None`: the disk is the bound.
    pub capacity: Option<u64>,
    /// Bytes of a segment file, a multiple of 4096.
    pub segment_size: u64,
    /// Segments whose two files are kept open.
    pub open_segments_max: usize,
    /// Columns without unsynced data whose state is kept in memory.
    pub columns_max: usize,
}

/// One target. All calls block; none waits for another column.
#[derive(Debug)]
pub struct Store {
    /// Holds the directories of the segments.
    directory: PathBuf,
    kv: Arc<dyn Kv>,
    options: Options,
    boot: AtomicU64,
    disk: Disk,
    columns: Columns,
    open_segments: Cache<(ColumnId, u32), Arc<Segment>>,
    buffers: Arc<Buffers>,
    never_used: RwLock<Vec<NeverUsed>>,
    /// One change of sets at a time: load, decide, store.
    sets: Mutex<()>,
    /// Counts records that syncs wrote, and those of them that are durable.
    kv_changes: AtomicU64,
    kv_synced: AtomicU64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reserve: None,
            capacity: None,
            segment_size: 1 << 40,
            open_segments_max: 1024,
            columns_max: 65_536,
        }
    }
}

impl Store {
    /// Opens the target in `dir`, which exists; `kv` holds its records and belongs to it alone.
    pub fn open(
        dir: &Path,
        kv: Arc<dyn Kv>,
        options: Options,
        environment: &Environment,
    ) -> Result<Store> {
        if options.segment_size == 0 || !options.segment_size.is_multiple_of(segment::BLOCK) {
            return Err(Error::Invalid(format!("segments of {} bytes", options.segment_size)));
        }
        let directory = dir.join("columns");
        make_directories(dir, &directory)?;
        let store = Store {
            boot: AtomicU64::new(boot::start(&*kv, environment)?),
            disk: Disk::open(&directory, &options)?,
            columns: Columns::new(options.columns_max),
            open_segments: Cache::new(options.open_segments_max),
            buffers: Arc::default(),
            never_used: RwLock::new(load_never_used(&*kv)?),
            sets: Mutex::new(()),
            kv_changes: AtomicU64::new(0),
            kv_synced: AtomicU64::new(0),
            directory,
            kv,
            options,
        };
        if store.disk.is_capped() {
            store.each_record(|_, record| store.disk.resized(0, record.allocated))?;
        }
        Ok(store)
    }

    /// New when what was not synced may be lost (O3).
    pub fn boot(&self) -> BootNumber {
        BootNumber(self.boot.load(Ordering::Acquire))
    }

    pub fn space(&self) -> Result<Space> {
        self.disk.space()
    }

    /// `None`: never written, or deleted.
    pub fn stat(&self, column: ColumnId) -> Result<Option<ColumnState>> {
        let column = self.columns.at(column);
        let state = self.prepared(&column)?;
        let present = state.presence == column::Presence::Present;
        Ok(present.then(|| ColumnState::from(&state.record)))
    }

    /// Columns after `after` in the order of their ids; fewer than `limit`: that was the end.
    pub fn list(
        &self,
        after: Option<ColumnId>,
        limit: usize,
        volume: Option<VolumeId>,
    ) -> Result<Vec<(ColumnId, ColumnState)>> {
        let prefix = match volume {
            Some(volume) => [record::COLUMNS, &volume.0.to_be_bytes()].concat(),
            None => record::COLUMNS.to_vec(),
        };
        let range = match after {
            Some(after) => KeyRange::prefix_after(&prefix, &record::column_key(after)),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.records(&range, limit)?;
        Ok(found.into_iter().map(|(id, record)| (id, ColumnState::from(&record))).collect())
    }

    /// Syncs everything and drops all marks, so that the next start finds nothing to make anew.
    pub fn close(&self) -> Result<()> {
        self.sync_all()?;
        self.sync_all()?;
        self.kv.sync()
    }

    fn records(&self, range: &KeyRange, limit: usize) -> Result<Vec<(ColumnId, Record)>> {
        let pairs = self.kv.scan(range, limit)?;
        let parsed = pairs.iter().map(|(key, value)| {
            let id = record::parse_column(key).ok_or_else(|| {
                Error::Corrupt(format!(
                    "key {key:02x?} of the target's kv; restore the data directory"
                ))
            })?;
            Ok((id, record::decode(key, value)?))
        });
        parsed.collect()
    }

    fn each_record(&self, mut act: impl FnMut(ColumnId, Record)) -> Result<()> {
        let mut range = KeyRange::prefix(record::COLUMNS);
        loop {
            let page = self.records(&range, PAGE)?;
            let last = page.last().map(|(id, _)| *id);
            let ended = page.len() < PAGE;
            page.into_iter().for_each(|(id, record)| act(id, record));
            match last {
                Some(last) if !ended => {
                    range = KeyRange::prefix_after(record::COLUMNS, &record::column_key(last));
                }
                _ => return Ok(()),
            }
        }
    }

    fn put_record(&self, id: ColumnId, record: &Record, durability: Durability) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(&record::column_key(id), &record::encode(record)?);
        self.kv.write(batch, durability)
    }

    /// An open segment that the column's record names.
    fn segment(&self, id: ColumnId, number: u32) -> Result<Arc<Segment>> {
        self.open_segments.get_or_insert_with(&(id, number), || {
            match Segment::open(&self.directory, id, number)? {
                Some(segment) => Ok(Arc::new(segment)),
                None => Err(Segment::missing(&self.directory, id, number)),
            }
        })
    }
}

/// 256 directories, so that none grows too large.
fn make_directories(dir: &Path, columns: &Path) -> Result<()> {
    let make = |path: &Path| match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(err) => Err(failed(path, &err)),
    };
    let mut made = make(columns)?;
    for number in 0..=u8::MAX {
        made |= make(&columns.join(format!("{number:02x}")))?;
    }
    if made {
        sync_directory(columns)?;
        sync_directory(dir)?;
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<()> {
    let synced = std::fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|err| failed(path, &err))
}

fn load_never_used(kv: &dyn Kv) -> Result<Vec<NeverUsed>> {
    let pairs = kv.scan(&KeyRange::prefix(record::NEVER_USED), usize::MAX)?;
    Ok(pairs.iter().filter_map(|(key, _)| record::parse_never_used(key)).collect())
}
