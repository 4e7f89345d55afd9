//! An open directory: pages of the MRC's listing, cut to what fits into the kernel's buffers.
//!
//! Offsets for the kernel: 1 is after ".", 2 after "..", and an entry's cookie plus 2 after the entry.

use std::collections::VecDeque;

use tokio::sync::Mutex;
use xtfs_client::{Attributes, Caller, DirectoryEntry, Volume};
use xtfs_core::{Ino, Result};

/// Entries asked for at once; more than one buffer of the kernel takes, the rest waits for the next.
const PAGE_ENTRIES: u32 = 512;
const DOTS: u64 = 2;

#[derive(Debug)]
pub(super) struct Directory {
    ino: Ino,
    /// As it was when it was opened: what is said of it once it is removed.
    pub(super) attributes: Attributes,
    rest: Mutex<Option<Page>>,
}

/// Entries not handed out yet.
#[derive(Debug)]
struct Page {
    /// Cookie that they come after.
    after: u64,
    plus: bool,
    entries: VecDeque<DirectoryEntry>,
    end: bool,
    parent: Ino,
}

/// Where entries go to. Each call answers whether the buffer was full already, the entry not taken.
pub(super) trait Listing: Send {
    const PLUS: bool;
    fn dot(&mut self, ino: Ino, offset: u64, name: &str) -> bool;
    fn entry(&mut self, entry: &DirectoryEntry, offset: u64) -> bool;
}

impl Directory {
    pub(super) fn new(attributes: Attributes) -> Self {
        Directory { ino: attributes.ino, attributes, rest: Mutex::new(None) }
    }

    /// Fills `listing` with what comes after `offset`.
    pub(super) async fn list<L: Listing>(
        &self,
        volume: &Volume,
        caller: &Caller,
        offset: u64,
        listing: &mut L,
    ) -> Result<()> {
        let mut rest = self.rest.lock().await;
        let mut after = offset.saturating_sub(DOTS);
        // A rewound directory is read anew.
        let mut page = rest
            .take()
            .filter(|page| offset >= DOTS && page.after == after && page.plus == L::PLUS);
        loop {
            let mut current = match page.take() {
                Some(page) => page,
                None => self.fetch::<L>(volume, caller, after).await?,
            };
            if after == 0 && offset < DOTS && self.dots(volume, current.parent, offset, listing) {
                return Ok(());
            }
            while let Some(entry) = current.entries.front() {
                if listing.entry(entry, entry.cookie.saturating_add(DOTS)) {
                    *rest = Some(current);
                    return Ok(());
                }
                after = entry.cookie;
                current.after = after;
                current.entries.pop_front();
            }
            if current.end {
                // Kept, so that the kernel's last question needs no further look.
                *rest = Some(current);
                return Ok(());
            }
        }
    }

    async fn fetch<L: Listing>(
        &self,
        volume: &Volume,
        caller: &Caller,
        after: u64,
    ) -> Result<Page> {
        let page = volume.readdir(caller, self.ino, after, PAGE_ENTRIES, L::PLUS).await?;
        let end = page.end || page.entries.is_empty();
        Ok(Page { after, plus: L::PLUS, entries: page.entries.into(), end, parent: page.parent })
    }

    /// Whether the buffer is full.
    fn dots<L: Listing>(&self, volume: &Volume, parent: Ino, offset: u64, listing: &mut L) -> bool {
        // Above what is mounted there is nothing.
        let parent = if self.ino == volume.root() { self.ino } else { parent };
        (offset < 1 && listing.dot(self.ino, 1, ".")) || listing.dot(parent, 2, "..")
    }
}
