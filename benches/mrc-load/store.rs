//! What the store alone can do, on the same disk, from as many threads as there are clients.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use xtfs_kv::{Batch, Durability, KeyRange, Kv, Read, RocksKv, RocksOptions};

use crate::measure::on_threads;
use crate::report::Report;

/// Rows that the making of a file writes: what the log holds of it (entry, last, committed), and the state (how far it
/// is, counters, session, result, usage, directory, inode, name, cookie, link).
const ROWS: u64 = 13;
const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 120;
/// Rows of one scan, as of a directory.
const SCAN_ROWS: usize = 1000;
/// Written before what reads, so that there is something.
const READ_BATCHES: u64 = 10_000;

/// In a new store at `path`, which is removed.
pub(crate) fn measure(
    path: &Path,
    threads: usize,
    length: Duration,
    report: &mut Report,
) -> Result<()> {
    let store = RocksKv::open(path, RocksOptions::default())?;
    let next = AtomicU64::new(0);
    let put = |durability: Durability| {
        store.write(batch(next.fetch_add(1, Ordering::Relaxed)), durability)?;
        Ok(1)
    };
    let workers = || vec![(); threads];
    let unsynced = on_threads(workers(), length, |()| put(Durability::Process))?;
    report.row("store: put", threads, 1, &unsynced);
    let synced = on_threads(workers(), length, |()| put(Durability::Synced))?;
    report.row("store: put synced", threads, 1, &synced);
    while next.load(Ordering::Relaxed) < READ_BATCHES {
        put(Durability::Process)?;
    }
    let rows = next.load(Ordering::Relaxed) * ROWS;
    let got = on_threads(workers(), length, |()| {
        ensure!(store.get(&key(rand::random_range(0..rows)))?.is_some(), "a row is missing");
        Ok(1)
    })?;
    report.row("store: get", threads, 1, &got);
    let scanned = on_threads(workers(), length, |()| {
        let start = key(rand::random_range(0..rows - SCAN_ROWS as u64)).to_vec();
        let pairs = store.scan(&KeyRange { start, end: None }, SCAN_ROWS)?;
        ensure!(pairs.len() == SCAN_ROWS, "rows are missing");
        Ok(SCAN_ROWS as u64)
    })?;
    report.row("store: scan", threads, 1, &scanned);
    drop(store);
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    for row in number * ROWS..(number + 1) * ROWS {
        let mut value = [0; VALUE_BYTES];
        // Half of it does not compress.
        rand::fill(&mut value[..VALUE_BYTES / 2]);
        batch.put(&key(row), &value);
    }
    batch
}

fn key(row: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[KEY_BYTES - 8..].copy_from_slice(&row.to_be_bytes());
    key
}
