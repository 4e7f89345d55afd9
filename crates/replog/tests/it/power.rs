//! Killed processes and power cuts on RocksDB: the files as they are at some instant, the unsynced
//! tail torn anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use xtfs_replog::{Config, Durability, Replog};

use crate::counter::{Command, List, config, items};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn newest_log(group: &Path) -> PathBuf {
    let entries = fs::read_dir(group.join("store-1")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap()
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn a_killed_process_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (group, killed) = (dir.path().join("group"), dir.path().join("killed"));
    let replog = Replog::open(&group, config(), List).await.unwrap();
    for number in 0..50 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    let before = replog.status();
    assert!(before.durable < before.index);
    copy(&group, &killed);
    let again = Replog::open(&killed, config(), List).await.unwrap();
    assert_eq!(again.view(items), (0..50).collect::<Vec<_>>());
    let after = again.status();
    assert!(after.term > before.term && after.term_start > before.index, "{before:?} {after:?}");
}

/// The state that was flushed and the log that was torn come from one write-ahead log, so the state
/// is never ahead: what remains is a prefix, and the next number follows on it.
#[tokio::test]
async fn a_power_cut_at_any_byte_leaves_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    let replog = Replog::open(&group, config(), List).await.unwrap();
    for number in 0..20 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    replog.propose(Command::Append(20), Durability::Durable).await.unwrap();
    let synced = len(&newest_log(&group));
    for number in 21..40 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    let before = replog.status();
    let whole = len(&newest_log(&group));
    let step = usize::try_from((whole - synced) / 40).unwrap().max(1);
    let mut kept_before = 21;
    for (number, cut) in (synced..=whole).step_by(step).enumerate() {
        let torn = dir.path().join(format!("torn-{number}"));
        copy(&group, &torn);
        let file = fs::File::options().write(true).open(newest_log(&torn)).unwrap();
        file.set_len(cut).unwrap();
        let again = Replog::open(&torn, config(), List).await.unwrap();
        let kept = again.view(items);
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "cut at {cut}");
        assert!(kept.len() >= kept_before, "cut at {cut}: {} kept", kept.len());
        kept_before = kept.len();
        let after = again.status();
        assert!(after.term > before.term, "cut at {cut}: {after:?}");
        assert!(after.term_start > before.durable, "cut at {cut}: {before:?} {after:?}");
        let next = again.propose(Command::Append(kept.len() as u64), Durability::Lazy).await;
        assert!(next.unwrap().index > after.term_start);
    }
    assert!(kept_before > 35, "{kept_before}");
}

/// The state of purged entries must not be lost with them: there is nothing to replay.
#[tokio::test]
async fn a_power_cut_after_a_purge_loses_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    let config = Config { entries_kept: 10, ..config() };
    let replog = Replog::open(&group, config.clone(), List).await.unwrap();
    let start = len(&newest_log(&group));
    for number in 0..200 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    let purged = || replog.raft().metrics().borrow().purged.map_or(0, |id| id.index);
    crate::eventually(|| purged() > 100).await;
    let whole = len(&newest_log(&group));
    for number in 0..40 {
        let cut = start + (whole - start) * number / 39;
        let torn = dir.path().join(format!("torn-{number}"));
        copy(&group, &torn);
        let file = fs::File::options().write(true).open(newest_log(&torn)).unwrap();
        file.set_len(cut).unwrap();
        let again = Replog::open(&torn, config.clone(), List).await.unwrap();
        let kept = again.view(items);
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "cut at {cut}");
        again.propose(Command::Append(0), Durability::Lazy).await.unwrap();
    }
}

#[tokio::test]
async fn the_log_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    let config = Config { entries_kept: 10, ..config() };
    let replog = Replog::open(&group, config.clone(), List).await.unwrap();
    for number in 0..300 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    let purged = || replog.raft().metrics().borrow().purged.map_or(0, |id| id.index);
    crate::eventually(|| purged() > 250).await;
    replog.shutdown().await.unwrap();
    drop(replog);
    let again = Replog::open(&group, config, List).await.unwrap();
    assert_eq!(again.view(items).len(), 300);
}
