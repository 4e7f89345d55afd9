//! Changes on top of a store, visible to their own reads, kept or dropped as a whole.

use std::collections::BTreeMap;
use std::ops::Bound;

use xtfs_core::Result;

use crate::{KeyRange, Pair, Read};

/// Changes in the order of their keys; `None` is a deletion.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

#[derive(Debug)]
pub struct Transaction<'a> {
    base: &'a dyn Read,
    batch: Batch,
}

impl Batch {
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.changes.insert(key.to_vec(), Some(value.to_vec()));
    }

    pub fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The same changes below a prefix: what [`crate::Prefixed`] reads.
    pub fn prefixed(self, prefix: &[u8]) -> Batch {
        let longer = |(key, change): (Vec<u8>, _)| ([prefix, &key].concat(), change);
        Batch { changes: self.changes.into_iter().map(longer).collect() }
    }
}

impl IntoIterator for Batch {
    type Item = (Vec<u8>, Option<Vec<u8>>);
    type IntoIter = std::collections::btree_map::IntoIter<Vec<u8>, Option<Vec<u8>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}

impl<'a> Transaction<'a> {
    pub fn new(base: &'a dyn Read) -> Self {
        Transaction { base, batch: Batch::default() }
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put(key, value);
    }

    pub fn delete(&mut self, key: &[u8]) {
        self.batch.delete(key);
    }

    /// Runs `act` and keeps what it wrote if and only if it returns `Ok`.
    pub fn nested<T, E>(
        &mut self,
        act: impl FnOnce(&mut Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut inner = Transaction::new(self);
        let done = act(&mut inner)?;
        let changes = inner.batch.changes;
        self.batch.changes.extend(changes);
        Ok(done)
    }

    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

impl Read for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.batch.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.clone()));
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(Vec::new());
        }
        let own = self.batch.changes.range((Bound::Included(range.start.clone()), end));
        let own: Vec<_> = own.collect();
        if own.is_empty() {
            return self.base.scan(range, limit);
        }
        // Each own change hides at most one pair of the base.
        let below = self.base.scan(range, limit.saturating_add(own.len()))?;
        Ok(merge(below, &own, limit))
    }
}

/// `own` wins over `below`; both are in order.
fn merge(below: Vec<Pair>, own: &[(&Vec<u8>, &Option<Vec<u8>>)], limit: usize) -> Vec<Pair> {
    let mut merged = Vec::with_capacity(limit.min(below.len() + own.len()));
    let mut below = below.into_iter().peekable();
    let mut own = own.iter().peekable();
    while merged.len() < limit {
        let ours_is_next = match (below.peek(), own.peek()) {
            (None, None) => break,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((key, _)), Some((own_key, _))) => *own_key <= key,
        };
        if !ours_is_next {
            merged.extend(below.next());
            continue;
        }
        if let Some((key, change)) = own.next() {
            below.next_if(|(hidden, _)| hidden == *key);
            if let Some(value) = change {
                merged.push(((*key).clone(), value.clone()));
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, Kv, MemKv};
    use proptest::prelude::*;

    #[test]
    fn a_failed_nested_transaction_leaves_nothing() {
        let kv = MemKv::default();
        let mut tx = Transaction::new(&kv);
        tx.put(b"a", b"1");
        let failed: std::result::Result<(), &str> = tx.nested(|tx| {
            tx.put(b"a", b"2");
            tx.delete(b"b");
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        tx.nested(|tx| {
            assert_eq!(tx.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
            tx.put(b"c", b"3");
            Ok::<_, ()>(())
        })
        .unwrap();
        kv.write(tx.into_batch(), Durability::Process).unwrap();
        let all = kv.scan(&KeyRange::prefix(b""), 10).unwrap();
        assert_eq!(all, [(b"a".to_vec(), b"1".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
    }

    type Changes = Vec<(u8, Option<u8>)>;

    fn changes() -> impl Strategy<Value = Changes> {
        proptest::collection::vec((0..20u8, proptest::option::of(any::<u8>())), 0..20)
    }

    proptest! {
        /// A transaction reads as the store will read after it.
        #[test]
        fn a_transaction_reads_its_own_writes(
            before in changes(), during in changes(), start in 0..20u8, end in 0..20u8, limit in 0..8usize
        ) {
            let kv = MemKv::default();
            let mut tx = Transaction::new(&kv);
            apply(&mut tx, before);
            kv.write(tx.into_batch(), Durability::Process).unwrap();

            let mut tx = Transaction::new(&kv);
            apply(&mut tx, during);
            let range = KeyRange { start: vec![start], end: Some(vec![end]) };
            let seen = tx.scan(&range, limit).unwrap();
            let single: Vec<_> = (0..20).map(|key| tx.get(&[key]).unwrap()).collect();
            kv.write(tx.into_batch(), Durability::Process).unwrap();
            prop_assert_eq!(seen, kv.scan(&range, limit).unwrap());
            let after: Vec<_> = (0..20).map(|key| kv.get(&[key]).unwrap()).collect();
            prop_assert_eq!(single, after);
        }
    }

    fn apply(tx: &mut Transaction<'_>, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => tx.put(&[key], &[value]),
                None => tx.delete(&[key]),
            }
        }
    }
}
