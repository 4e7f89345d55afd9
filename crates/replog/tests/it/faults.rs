//! Disks that fail and disks that are full.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use xtfs_core::{Error, Result};
use xtfs_kv::{Batch, Durability as KvDurability, KeyRange, Kv, MemKv, Pair, Read};
use xtfs_replog::{Config, Durability, Replog};

use crate::counter::{Command, List, config, items};

/// A store whose syncs or writes fail from some time on.
#[derive(Debug, Default)]
struct Faulty {
    kv: MemKv,
    fail_sync: AtomicBool,
    fail_write: AtomicBool,
    syncs_after_fault: AtomicUsize,
}

impl Read for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kv.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        self.kv.scan(range, limit)
    }
}

impl Kv for Faulty {
    fn write(&self, batch: Batch, durability: KvDurability) -> Result<()> {
        if self.fail_write.load(Ordering::SeqCst) {
            return Err(Error::NoSpace("the disk".to_owned()));
        }
        self.kv.write(batch, durability)
    }

    fn sync(&self) -> Result<()> {
        if self.fail_sync.load(Ordering::SeqCst) {
            self.syncs_after_fault.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Internal("fsync: input/output error".to_owned()));
        }
        self.kv.sync()
    }

    fn snapshot(&self) -> Box<dyn Read + '_> {
        self.kv.snapshot()
    }

    fn checkpoint(&self, path: &Path) -> Result<()> {
        self.kv.checkpoint(path)
    }
}

#[tokio::test]
async fn after_a_failed_sync_the_member_is_down_and_says_why() {
    let kv = Arc::new(Faulty::default());
    let replog = Replog::open_with(kv.clone(), config(), List).await.unwrap();
    replog.propose(Command::Append(0), Durability::Durable).await.unwrap();
    kv.fail_sync.store(true, Ordering::SeqCst);
    let failed = |result: Result<()>| {
        let Err(Error::Internal(text)) = &result else { panic!("{result:?}") };
        assert!(text.contains("fsync"), "{text}");
    };
    failed(replog.propose(Command::Append(1), Durability::Durable).await.map(drop));
    failed(replog.propose(Command::Append(2), Durability::Lazy).await.map(drop));
    failed(replog.sync().await.map(drop));
    failed(replog.barrier().await);
    failed(replog.shutdown().await);
    assert!(replog.fault().is_some());
    // A second sync would succeed on some kernels although the data is gone.
    assert_eq!(kv.syncs_after_fault.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_write_that_fails_is_not_acknowledged_and_reads_go_on() {
    let kv = Arc::new(Faulty::default());
    let replog = Replog::open_with(kv.clone(), config(), List).await.unwrap();
    replog.propose(Command::Append(0), Durability::Lazy).await.unwrap();
    kv.fail_write.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = replog.propose(Command::Append(1), Durability::Lazy).await;
        assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");
    }
    replog.barrier().await.unwrap();
    assert_eq!(replog.view(items), [0]);
}

#[tokio::test]
async fn a_command_that_cannot_be_applied_stops_the_member() {
    let replog = Replog::open_with(Arc::new(MemKv::default()), config(), List).await.unwrap();
    for _ in 0..2 {
        let stopped = replog.propose(Command::Break, Durability::Lazy).await;
        assert_eq!(stopped.unwrap_err(), Error::Internal("cannot be applied".to_owned()));
    }
}

/// A small disk, gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None where tests may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Process::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Disk(dir))
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let zeros = Process::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", self.0.path().join("others").display()))
            .stderr(Stdio::null())
            .status();
        assert!(!zeros.unwrap().success(), "the disk did not become full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Process::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_but_not_reads_and_not_what_frees_space() {
    let Some(disk) = Disk::mount(256) else {
        eprintln!("skipped: mounting a small disk needs root");
        return;
    };
    let group = disk.0.path().join("group");
    let config = Config { min_free_bytes: 8 << 20, ..config() };
    let replog = Replog::open(&group, config.clone(), List).await.unwrap();
    for number in 0..10 {
        replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
    }
    disk.fill();
    let refused = replog.propose(Command::Append(10), Durability::Lazy).await;
    let Err(Error::NoSpace(text)) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("group") && text.contains("remove files"), "{text}");
    replog.barrier().await.unwrap();
    assert_eq!(replog.view(items).len(), 10);
    // A start on a full disk lives on the reserve, and so does what frees space.
    replog.shutdown().await.unwrap();
    drop(replog);
    disk.fill();
    let replog = Replog::open(&group, config, List).await.unwrap();
    assert_eq!(replog.view(items).len(), 10);
    for _ in 0..10 {
        replog.propose(Command::Free, Durability::Durable).await.unwrap();
    }
    let refused = replog.propose(Command::Append(10), Durability::Lazy).await;
    assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");

    std::fs::remove_file(disk.0.path().join("others")).unwrap();
    replog.propose(Command::Append(10), Durability::Durable).await.unwrap();
    assert_eq!(replog.view(items).len(), 11);
    replog.shutdown().await.unwrap();
}
