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
