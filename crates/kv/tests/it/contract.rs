//! What every store promises.

use std::path::Path;

use proptest::prelude::*;
use xtfs_kv::{
    Batch, Durability, KeyRange, Kv, MemKv, Prefixed, Read, RocksKv, RocksOptions, Transaction,
};

/// Runs `test` on each implementation.
fn each(test: impl Fn(&dyn Kv)) {
    test(&MemKv::default());
    let dir = tempfile::tempdir().unwrap();
    test(&open(&dir.path().join("store")));
}

fn open(path: &Path) -> RocksKv {
    RocksKv::open(path, RocksOptions::default()).unwrap()
}

fn batch(changes: &[(&[u8], Option<&[u8]>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch
}

#[test]
fn a_batch_is_read_after_it_was_written() {
    each(|kv| {
        kv.write(batch(&[(b"a", Some(b"1")), (b"b", Some(b""))]), Durability::Process).unwrap();
        kv.write(batch(&[(b"a", None), (b"c", Some(b"3"))]), Durability::Synced).unwrap();
        kv.write(Batch::default(), Durability::Synced).unwrap();
        kv.sync().unwrap();
        assert_eq!(kv.get(b"a").unwrap(), None);
        assert_eq!(kv.get(b"b").unwrap().as_deref(), Some(b"".as_slice()));
        assert_eq!(kv.scan(&KeyRange::prefix(b""), 9).unwrap().len(), 2);
    });
}

#[test]
fn a_scan_is_in_order_and_keeps_to_its_range_and_limit() {
    each(|kv| {
        for key in [b"b".as_slice(), b"a\xff", b"a", b"aa", b"\xff\xff", b"\xff"] {
            kv.write(batch(&[(key, Some(b""))]), Durability::Process).unwrap();
        }
        let scan = |range: &KeyRange, limit| -> Vec<Vec<u8>> {
            kv.scan(range, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(scan(&KeyRange::prefix(b"a"), 9), [b"a".as_slice(), b"aa", b"a\xff"]);
        assert_eq!(scan(&KeyRange::prefix(b"a"), 2), [b"a".as_slice(), b"aa"]);
        assert_eq!(scan(&KeyRange::prefix_after(b"a", b"aa"), 9), [b"a\xff".as_slice()]);
        assert_eq!(scan(&KeyRange::prefix(b"\xff"), 9), [b"\xff".as_slice(), b"\xff\xff"]);
        assert_eq!(scan(&KeyRange::prefix(b""), 0).len(), 0);
        let backwards = KeyRange { start: b"b".to_vec(), end: Some(b"a".to_vec()) };
        assert_eq!(scan(&backwards, 9).len(), 0);
    });
}

/// A prefix extractor would hide keys from a scan that starts outside of their prefix.
#[test]
fn a_scan_crosses_prefixes() {
    each(|kv| {
        for index in [0u64, 255, 256, 65_536, u64::MAX] {
            let key = [b"log".as_slice(), &index.to_be_bytes()].concat();
            kv.write(batch(&[(&key, Some(b""))]), Durability::Process).unwrap();
        }
        let range = KeyRange { start: b"a".to_vec(), end: Some(b"z".to_vec()) };
        assert_eq!(kv.scan(&range, 9).unwrap().len(), 5);
        let range =
            KeyRange { start: [b"log".as_slice(), &1u64.to_be_bytes()].concat(), end: None };
        assert_eq!(kv.scan(&range, 9).unwrap().len(), 4);
    });
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    each(|kv| {
        kv.write(batch(&[(b"a", Some(b"1"))]), Durability::Process).unwrap();
        let snapshot = kv.snapshot();
        kv.write(batch(&[(b"a", Some(b"2")), (b"b", Some(b"2"))]), Durability::Process).unwrap();
        assert_eq!(snapshot.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
        assert_eq!(snapshot.scan(&KeyRange::prefix(b""), 9).unwrap().len(), 1);
        assert_eq!(kv.scan(&KeyRange::prefix(b""), 9).unwrap().len(), 2);
    });
}

#[test]
fn a_prefixed_read_sees_what_a_prefixed_batch_wrote() {
    each(|kv| {
        kv.write(batch(&[(b"T", Some(b"not ours")), (b"R", Some(b""))]), Durability::Process)
            .unwrap();
        let state = Prefixed::new(kv, b"S");
        let mut tx = Transaction::new(&state);
        tx.put(b"", b"0");
        tx.put(b"\xff", b"1");
        let changes = tx.into_batch().prefixed(b"S");
        kv.write(changes, Durability::Process).unwrap();
        assert_eq!(state.get(b"").unwrap().as_deref(), Some(b"0".as_slice()));
        let all = state.scan(&KeyRange::prefix(b""), 9).unwrap();
        assert_eq!(all, [(vec![], b"0".to_vec()), (vec![0xff], b"1".to_vec())]);
        let first = KeyRange { start: vec![], end: Some(vec![1]) };
        assert_eq!(state.scan(&first, 9).unwrap().len(), 1);
    });
}

#[test]
fn a_checkpoint_holds_the_newest_writes() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(&dir.path().join("store"));
    for round in 0..3u8 {
        kv.write(batch(&[(b"round", Some(&[round]))]), Durability::Process).unwrap();
        let path = dir.path().join(format!("checkpoint-{round}"));
        kv.checkpoint(&path).unwrap();
        kv.write(batch(&[(b"round", Some(b"later"))]), Durability::Synced).unwrap();
        let copy = open(&path);
        assert_eq!(copy.get(b"round").unwrap(), Some(vec![round]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The two stores answer alike, also after the one on disk was opened again.
    #[test]
    fn memory_and_disk_agree(
        rounds in proptest::collection::vec(
            proptest::collection::vec((0..30u8, proptest::option::of(any::<u8>())), 0..12), 1..12),
        start in 0..30u8, end in 0..30u8, limit in 0..12usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (mem, mut rocks) = (MemKv::default(), open(&path));
        for (number, round) in rounds.into_iter().enumerate() {
            let mut changes = Batch::default();
            for (key, value) in round {
                match value {
                    Some(value) => changes.put(&[key], &[value]),
                    None => changes.delete(&[key]),
                }
            }
            mem.write(changes.clone(), Durability::Process).unwrap();
            rocks.write(changes, Durability::Process).unwrap();
            if number % 4 == 3 {
                drop(rocks);
                rocks = open(&path);
            }
        }
        let range = KeyRange { start: vec![start], end: Some(vec![end]) };
        prop_assert_eq!(mem.scan(&range, limit).unwrap(), rocks.scan(&range, limit).unwrap());
        let all = KeyRange::prefix(b"");
        prop_assert_eq!(mem.scan(&all, 99).unwrap(), rocks.scan(&all, 99).unwrap());
    }
}
