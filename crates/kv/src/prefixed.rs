//! A part of a store: the keys that begin with a prefix, read without it.

use xtfs_core::Result;

use crate::{KeyRange, Pair, Read};

#[derive(Clone, Copy, Debug)]
pub struct Prefixed<'a> {
    base: &'a dyn Read,
    prefix: &'a [u8],
}

impl<'a> Prefixed<'a> {
    pub fn new(base: &'a dyn Read, prefix: &'a [u8]) -> Self {
        Prefixed { base, prefix }
    }
}

impl Read for Prefixed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.base.get(&[self.prefix, key].concat())
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        let end = match &range.end {
            Some(end) => Some([self.prefix, end].concat()),
            None => KeyRange::prefix(self.prefix).end,
        };
        let range = KeyRange { start: [self.prefix, &range.start].concat(), end };
        let mut pairs = self.base.scan(&range, limit)?;
        for (key, _) in &mut pairs {
            key.drain(..self.prefix.len());
        }
        Ok(pairs)
    }
}
