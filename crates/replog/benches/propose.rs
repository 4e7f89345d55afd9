//! Proposals per second of a lone member on RocksDB: `cargo bench -p xtfs-replog`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xtfs_core::{Error, Result};
use xtfs_kv::{Read, Transaction};
use xtfs_replog::{Config, Durability, Replog, StateMachine};

const TIME: Duration = Duration::from_secs(3);

/// Stores a row of the size of an inode and a directory entry.
#[derive(Debug)]
struct Rows;

impl StateMachine for Rows {
    type Command = (u64, Vec<u8>);
    type Reply = bool;

    fn apply(&self, (key, row): (u64, Vec<u8>), tx: &mut Transaction<'_>) -> Result<bool> {
        let known = tx.get(&key.to_be_bytes())?.is_some();
        tx.put(&key.to_be_bytes(), &row);
        tx.put(&[b"d".as_slice(), &key.to_be_bytes()].concat(), b"entry");
        Ok(known)
    }
}

/// Commands answered in `TIME`, and the longest wait of one.
async fn run(
    replog: &Arc<Replog<Rows>>,
    proposers: u64,
    durability: Durability,
) -> (u64, Duration) {
    let end = Instant::now() + TIME;
    let tasks: Vec<_> = (0..proposers)
        .map(|proposer| {
            let replog = Arc::clone(replog);
            tokio::spawn(async move {
                let (mut count, mut longest) = (0, Duration::ZERO);
                while Instant::now() < end {
                    let begun = Instant::now();
                    let command = (proposer << 40 | count, vec![7; 200]);
                    replog.propose(command, durability).await?;
                    longest = longest.max(begun.elapsed());
                    count += 1;
                }
                Ok::<_, Error>((count, longest))
            })
        })
        .collect();
    let (mut count, mut longest) = (0, Duration::ZERO);
    for task in tasks {
        let (of_task, wait) = task.await.expect("no panic").expect("no error");
        count += of_task;
        longest = longest.max(wait);
    }
    (count, longest)
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = dir.path().join("group");
    let replog = Replog::open(&group, Config::default(), Rows).await.expect("it opens");
    println!("{:>10} {:>10} {:>12} {:>12}", "proposers", "kind", "per second", "longest");
    for durability in [Durability::Lazy, Durability::Durable] {
        for proposers in [1, 8, 64, 512] {
            let (count, longest) = run(&replog, proposers, durability).await;
            let rate = count / TIME.as_secs();
            println!("{proposers:>10} {durability:>10?} {rate:>12} {longest:>12.1?}");
        }
    }
    replog.shutdown().await.expect("it stops");
}
