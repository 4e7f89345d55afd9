//! A group of one member.

use std::sync::Arc;

use xtfs_kv::MemKv;
use xtfs_replog::{Durability, Replog};

use crate::counter::{Command, List, Reply, config, items};

#[tokio::test]
async fn a_restart_keeps_what_was_acknowledged_under_a_new_term() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    let replog = Replog::open(&group, config(), List).await.unwrap();
    for number in 0..10 {
        let receipt = replog.propose(Command::Append(number), Durability::Lazy).await.unwrap();
        assert_eq!(receipt.reply, Reply::Length(number + 1));
        assert_eq!(replog.status().index, receipt.index);
    }
    let before = replog.status();
    assert_eq!(replog.sync().await, Ok(before.index));
    assert_eq!(replog.status().durable, before.index);
    replog.shutdown().await.unwrap();
    drop(replog);

    let replog = Replog::open(&group, config(), List).await.unwrap();
    let after = replog.status();
    assert!(after.term > before.term && after.term_start > before.index, "{before:?} {after:?}");
    replog.barrier().await.unwrap();
    assert_eq!(replog.view(items), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_power_cut_loses_only_what_was_not_durable() {
    let kv = Arc::new(MemKv::default());
    let replog = Replog::open_with(kv.clone(), config(), List).await.unwrap();
    replog.propose(Command::Append(0), Durability::Lazy).await.unwrap();
    let kept = replog.propose(Command::Append(1), Durability::Durable).await.unwrap();
    let lost = replog.propose(Command::Append(2), Durability::Lazy).await.unwrap();
    let before = replog.status();
    assert!(before.durable >= kept.index && before.durable < lost.index, "{before:?}");
    drop(replog);
    crate::eventually(|| Arc::strong_count(&kv) == 1).await;
    kv.cut_power();

    let replog = Replog::open_with(kv, config(), List).await.unwrap();
    assert_eq!(replog.view(items), [0, 1]);
    let after = replog.status();
    assert!(after.term > before.term, "{before:?} {after:?}");
    // What a client saw of the older term at or above it is lost, and what is lost lies there.
    assert!(after.term_start > kept.index && after.term_start <= lost.index, "{after:?}");
}

#[tokio::test]
async fn a_business_error_is_a_reply() {
    let replog = Replog::open_with(Arc::new(MemKv::default()), config(), List).await.unwrap();
    let refused = replog.propose(Command::Refuse, Durability::Lazy).await.unwrap();
    assert_eq!(refused.reply, Reply::Refused(xtfs_core::Error::NotFound));
    let next = replog.propose(Command::Append(7), Durability::Lazy).await.unwrap();
    assert_eq!(next.reply, Reply::Length(1));
}

#[tokio::test]
async fn commands_that_wait_share_an_entry() {
    let replog = Replog::open_with(Arc::new(MemKv::default()), config(), List).await.unwrap();
    let before = replog.status().index;
    let waiting: Vec<_> = (0..1000)
        .map(|number| {
            let replog = Arc::clone(&replog);
            tokio::spawn(async move {
                replog.propose(Command::Append(number), Durability::Lazy).await.unwrap()
            })
        })
        .collect();
    let mut lengths = Vec::new();
    for receipt in waiting {
        let receipt = receipt.await.unwrap();
        let Reply::Length(length) = receipt.reply else { panic!("{receipt:?}") };
        assert!(receipt.index <= replog.status().index);
        lengths.push(length);
    }
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=1000).collect::<Vec<_>>());
    let entries = replog.status().index - before;
    assert!(entries < 500, "{entries} entries for 1000 commands");
}

#[tokio::test]
async fn an_entry_keeps_to_its_size() {
    let replog = Replog::open_with(Arc::new(MemKv::default()), config(), List).await.unwrap();
    let before = replog.status().index;
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let replog = Arc::clone(&replog);
            let blob = Command::Blob(vec![7; xtfs_replog::ENTRY_BYTES_MAX / 2]);
            tokio::spawn(async move { replog.propose(blob, Durability::Lazy).await.unwrap() })
        })
        .collect();
    for receipt in waiting {
        receipt.await.unwrap();
    }
    assert!(replog.status().index - before >= 8);
    let too_large = Command::Blob(vec![7; xtfs_replog::COMMAND_BYTES_MAX]);
    let refused = replog.propose(too_large, Durability::Lazy).await;
    assert!(matches!(refused, Err(xtfs_core::Error::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn lazy_commands_are_synced_within_the_interval() {
    let interval = std::time::Duration::from_millis(20);
    let config = xtfs_replog::Config { commit_interval: interval, ..config() };
    let replog = Replog::open_with(Arc::new(MemKv::default()), config, List).await.unwrap();
    let receipt = replog.propose(Command::Append(0), Durability::Lazy).await.unwrap();
    crate::eventually(|| replog.status().durable >= receipt.index).await;
}

#[tokio::test]
async fn after_a_shutdown_proposals_are_unavailable() {
    let replog = Replog::open_with(Arc::new(MemKv::default()), config(), List).await.unwrap();
    let read = replog.state();
    replog.propose(Command::Append(4), Durability::Lazy).await.unwrap();
    assert_eq!(items(&*read), [4]);
    replog.shutdown().await.unwrap();
    let refused = replog.propose(Command::Append(5), Durability::Lazy).await;
    assert!(matches!(refused, Err(xtfs_core::Error::Unavailable(_))), "{refused:?}");
    assert_eq!(replog.status().durable, replog.status().index);
}
