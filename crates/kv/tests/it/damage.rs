//! Damaged files are named together with a remedy; a torn tail is no damage.

use std::fs;
use std::path::{Path, PathBuf};

use xtfs_core::{Error, Result};
use xtfs_kv::{Batch, Durability, KeyRange, Kv, Read, RocksKv, RocksOptions};

fn open(path: &Path) -> Result<RocksKv> {
    RocksKv::open(path, RocksOptions::default())
}

fn put(kv: &RocksKv, number: u32, durability: Durability) {
    let mut batch = Batch::default();
    batch.put(&number.to_be_bytes(), &[7; 100]);
    kv.write(batch, durability).unwrap();
}

fn count(kv: &RocksKv) -> Result<usize> {
    Ok(kv.scan(&KeyRange::prefix(b""), usize::MAX)?.len())
}

/// The files as a power cut or `kill -9` leaves them, if all of the page cache is written.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn files(dir: &Path, chosen: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .filter(|entry| chosen(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

fn newest_log(dir: &Path) -> PathBuf {
    files(dir, |name| name.ends_with(".log")).pop().unwrap()
}

/// The error names the store and what to do.
#[track_caller]
fn check_corrupt<T: std::fmt::Debug>(result: Result<T>, path: &Path) {
    let Err(Error::Corrupt(text)) = &result else { panic!("{result:?}") };
    assert!(text.contains(&path.display().to_string()) && text.contains("restore"), "{text}");
}

/// A store in sorted files, closed.
fn flushed(dir: &Path) -> PathBuf {
    let path = dir.join("store");
    for round in 0..3 {
        let kv = open(&path).unwrap();
        for number in 0..1000 {
            put(&kv, round * 1000 + number, Durability::Process);
        }
        kv.sync().unwrap();
    }
    // What was in the log becomes a sorted file.
    drop(open(&path).unwrap());
    path
}

#[test]
fn a_store_that_was_not_closed_keeps_every_write() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(&dir.path().join("store")).unwrap();
    (0..100).for_each(|number| put(&kv, number, Durability::Process));
    let killed = dir.path().join("killed");
    copy(&dir.path().join("store"), &killed);
    assert_eq!(count(&open(&killed).unwrap()), Ok(100));
}

#[test]
fn a_torn_tail_leaves_a_prefix_with_all_that_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let kv = open(&path).unwrap();
    (0..50).for_each(|number| put(&kv, number, Durability::Process));
    kv.sync().unwrap();
    let synced = fs::metadata(newest_log(&path)).unwrap().len();
    (50..100).for_each(|number| put(&kv, number, Durability::Process));
    let whole = fs::metadata(newest_log(&path)).unwrap().len();
    assert!(whole > synced);
    let mut before = 50;
    for (number, cut) in (synced..=whole).step_by(97).chain([whole]).enumerate() {
        let torn = dir.path().join(format!("torn-{number}"));
        copy(&path, &torn);
        fs::File::options().write(true).open(newest_log(&torn)).unwrap().set_len(cut).unwrap();
        let kept = open(&torn).unwrap();
        let all = kept.scan(&KeyRange::prefix(b""), usize::MAX).unwrap();
        let expected = (0..u32::try_from(all.len()).unwrap()).map(|n| n.to_be_bytes().to_vec());
        assert!(all.iter().map(|(key, _)| key.clone()).eq(expected), "cut at {cut}");
        assert!(all.len() >= before, "cut at {cut}: {} after {before}", all.len());
        before = all.len();
    }
    assert_eq!(before, 100);
}

#[test]
fn a_log_that_ends_before_what_was_synced_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let kv = open(&path).unwrap();
    (0..50).for_each(|number| put(&kv, number, Durability::Process));
    put(&kv, 50, Durability::Synced);
    put(&kv, 51, Durability::Synced);
    let flipped = dir.path().join("flipped");
    copy(&path, &flipped);
    let log = newest_log(&flipped);
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    check_corrupt(open(&flipped), &flipped);

    let lost = dir.path().join("lost");
    copy(&path, &lost);
    fs::remove_file(newest_log(&lost)).unwrap();
    check_corrupt(open(&lost), &lost);
}

#[test]
fn garbage_in_any_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = flushed(dir.path());
    let important =
        |name: &str| name == "CURRENT" || name.starts_with("MANIFEST-") || name.ends_with(".sst");
    for (number, file) in files(&path, important).into_iter().enumerate() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let garbage = dir.path().join(format!("garbage-{number}"));
        copy(&path, &garbage);
        let length = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        fs::write(garbage.join(&name), vec![0x5a; length]).unwrap();
        check_corrupt(open(&garbage).and_then(|kv| count(&kv)), &garbage);

        let missing = dir.path().join(format!("missing-{number}"));
        copy(&path, &missing);
        fs::remove_file(missing.join(&name)).unwrap();
        check_corrupt(open(&missing).and_then(|kv| count(&kv)), &missing);
    }
}

#[test]
fn a_flipped_bit_is_found_when_its_block_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = flushed(dir.path());
    let tables = files(&path, |name| name.ends_with(".sst"));
    let table = &tables[0];
    let mut bytes = fs::read(table).unwrap();
    bytes[100] ^= 1;
    fs::write(table, bytes).unwrap();
    let kv = open(&path).unwrap();
    check_corrupt(count(&kv), &path);
    // Blocks that are sound are read.
    assert!(kv.get(&2999u32.to_be_bytes()).unwrap().is_some());
}

#[test]
fn a_store_in_use_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let _kv = open(&path).unwrap();
    let again = open(&path);
    assert!(matches!(&again, Err(Error::Busy(text)) if text.contains("store")), "{again:?}");
}

#[test]
fn a_directory_without_a_parent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = open(&dir.path().join("no").join("store"));
    assert!(matches!(refused, Err(Error::Internal(_))), "{refused:?}");
}
