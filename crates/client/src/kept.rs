//! Answers without asking: from what is kept under leases, while the session surely lasts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use xtfs_core::access::Wanted;
use xtfs_core::{Error, Ino, NAME_MAX, Result};
use xtfs_proto::v1::{self, LogStatus};

use crate::Caller;
use crate::attributes::{Attributes, DirectoryEntry, DirectoryPage};
use crate::cache::{self, Asked, Described, Name, Table, Tick};
use crate::method;
use crate::mount::Mount;
use crate::mrc::{Answered, ITSELF};
use crate::volume::Volume;

/// Before the MRC is asked again whether a change can still be carried out late.
const DISTRUST_PAUSE: Duration = Duration::from_millis(200);

/// A change of ours on its way to these inodes. Dropped without an answer nobody knows what became of it, or will.
#[derive(Debug)]
#[must_use]
pub(crate) struct Change<'a> {
    mount: &'a Mount,
    asked: Asked,
    inos: Vec<Ino>,
    over: bool,
    /// The answer may be an old one.
    repeated: bool,
}

impl Change<'_> {
    /// Whether it was begun as one of this inode, too.
    pub(crate) fn is_of(&self, ino: Ino) -> bool {
        self.inos.contains(&ino)
    }

    /// It was refused or carried out, or both may be.
    pub(crate) fn checked<T>(mut self, answer: Result<Answered<T>>) -> Result<(Self, T)> {
        match answer {
            Ok(Answered { reply, repeated }) => {
                self.repeated = repeated;
                Ok((self, reply))
            }
            Err(err) => {
                self.over = err.is_decided();
                Err(err)
            }
        }
    }

    /// It was answered, and the answer describes `inode` and the others that were changed; `then` follows if what it
    /// says may be kept.
    pub(crate) fn done(
        mut self,
        log: Option<&LogStatus>,
        inode: Option<(Ino, Option<Described>)>,
        others: Vec<v1::Known>,
        then: impl FnOnce(&mut Table),
    ) {
        self.over = true;
        let others = others.into_iter().map(|other| (Ino(other.ino), cache::known(other)));
        let described = inode.into_iter().chain(others);
        let cache = &self.mount.cache;
        if self.repeated {
            // Of the first time; the inodes are described as they are now, which may be by others.
            let described = described.map(|(ino, _)| (ino, None)).collect();
            cache.changed(self.asked, log, &self.inos, described, |_| {});
        } else {
            cache.changed(self.asked, log, &self.inos, described.collect(), then);
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.mount.cache.with(|table| table.end(&self.inos));
        if !self.over {
            self.mount.distrust();
        }
    }
}

impl Mount {
    /// Before something is asked whose answer may be kept.
    pub(crate) fn asked(&self) -> Asked {
        self.cache.asked(self.mrc.session())
    }

    /// Before a change of ours is asked for.
    pub(crate) fn change_of(&self, inos: impl IntoIterator<Item = Ino>) -> Change<'_> {
        let inos: Vec<_> = inos.into_iter().collect();
        self.cache.with(|table| table.begin(&inos));
        Change { mount: self, asked: self.asked(), inos, over: false, repeated: false }
    }

    /// A change of ours may still be carried out, though nobody waits for it any more: nothing is kept before that is
    /// ruled out. The MRC refuses it once it has answered a later request, which says that this one is given up.
    fn distrust(&self) {
        let (inos, seen_to) = self.cache.distrust();
        self.forgetting.tell_later(&self.runtime, &inos);
        if seen_to {
            return;
        }
        let (mrc, cache, stop) = (self.mrc.clone(), self.cache.clone(), self.stop.clone());
        let rule_out = async move {
            loop {
                let distrusts = cache.distrusts();
                // It changes nothing.
                let request = v1::CloseRequest { volume: mrc.volume.0, ..Default::default() };
                let answer = mrc.change::<method::Close>(&ITSELF, request).await;
                let ruled_out = answer.map_or_else(|err| err.is_decided(), |_| true);
                if ruled_out && cache.trust(distrusts) {
                    return;
                }
                tokio::time::sleep(DISTRUST_PAUSE).await;
            }
        };
        self.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = rule_out => {}
                    () = stop.cancelled() => {}
                }
            },
            &self.runtime,
        );
    }

    /// Looks at what is kept, if it may be relied on.
    pub(crate) fn kept<T>(&self, look: impl FnOnce(&mut Table) -> Option<T>) -> Option<T> {
        let (session, _) = self.cache.of();
        if !self.mrc.lease().holds(session) {
            return None;
        }
        self.cache.trusted(look)
    }

    /// How long what is kept can be relied on at least.
    pub(crate) fn kept_for(&self) -> Duration {
        let (session, _) = self.cache.of();
        self.mrc.lease().left(session)
    }

    /// What a kept directory has after a cookie, if reading that changes nothing.
    pub(crate) fn kept_page(&self, ino: Ino, after: u64) -> Option<DirectoryPage> {
        let now = self.mrc.now();
        self.kept(|table| {
            table.kept(ino).filter(|kept| after > 0 || now < kept.lease.quiet_until)?;
            let entries = table.listing(ino)?.clone();
            let first = entries.partition_point(|entry| entry.cookie <= after);
            let parent = table.parent_of(ino)?;
            Some(DirectoryPage { entries: entries[first..].to_vec(), end: true, parent })
        })
    }
}

impl Volume {
    /// What is kept of an inode, for how long that holds.
    pub fn kept_attributes(&self, ino: Ino) -> Option<(Attributes, Duration)> {
        let attributes = self.mount().kept(|table| table.attributes_of(ino))?;
        Some((attributes, self.mount().kept_for()))
    }

    /// The inode behind a name, or that there is none, if that is kept. For who knows that the directory may be
    /// searched, as the kernel does.
    pub fn kept_name(&self, parent: Ino, name: &[u8]) -> Option<Result<Attributes>> {
        if name.len() > NAME_MAX {
            return Some(Err(Error::NameTooLong));
        }
        self.mount().kept(|table| table.found(parent, name))
    }

    /// A kept attribute that everybody may read.
    pub fn kept_system_xattr(&self, ino: Ino, name: &[u8]) -> Option<Result<Bytes>> {
        if !is_public(name) {
            return None;
        }
        let kept = self.mount().kept(|table| table.xattr(ino, name))?;
        Some(kept.ok_or(Error::NoAttribute))
    }

    /// A file is opened: whether the kernel may go on with the data that it has of it.
    pub fn data_is_current(&self, ino: Ino) -> bool {
        self.mount().kept(|table| Some(table.data_is_current(ino))).unwrap_or(false)
    }

    /// Kept attributes of the inode behind a name, for a caller who must be allowed to look it up.
    pub(crate) fn kept_lookup(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
    ) -> Option<Result<Attributes>> {
        self.mount().kept(|table| {
            if let Err(refused) = table.judge(caller, parent, Wanted::EXECUTE)? {
                return Some(Err(refused));
            }
            table.found(parent, name)
        })
    }

    pub(crate) fn kept_xattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
    ) -> Option<Result<Bytes>> {
        self.mount().kept(|table| {
            if !may_read(table, caller, ino, name) {
                return None;
            }
            Some(table.xattr(ino, name)?.ok_or(Error::NoAttribute))
        })
    }

    pub(crate) fn learn_xattr(
        &self,
        caller: &Caller,
        ino: Ino,
        under: Option<(u64, Tick)>,
        name: &[u8],
        value: &Result<Bytes>,
    ) {
        let Some(under) = under else { return };
        let value = match value {
            Ok(value) => Some(value.clone()),
            Err(Error::NoAttribute) => None,
            Err(_) => return,
        };
        let name = Bytes::copy_from_slice(name);
        self.mount().kept(|table| {
            may_read(table, caller, ino, &name).then(|| table.learn_xattr(ino, under, name, value))
        });
    }

    /// Names as root sees them.
    pub(crate) fn kept_xattr_names(&self, caller: &Caller, ino: Ino) -> Option<Arc<[Bytes]>> {
        if caller.uid != 0 {
            return None;
        }
        self.mount().kept(|table| table.xattr_names(ino))
    }
}

/// Whether everybody may read the attribute of every inode.
fn is_public(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"system.")
}

/// Whether a kept attribute may be told, or that there is none.
fn may_read(table: &Table, caller: &Caller, ino: Ino, name: &[u8]) -> bool {
    caller.uid == 0
        || is_public(name)
        || name.starts_with(b"user.")
            && matches!(table.judge(caller, ino, Wanted::READ), Some(Ok(())))
}

/// Where a new name leads in a directory that is kept.
pub(crate) fn leads(parent: Ino, name: Bytes, ino: Ino) -> impl FnOnce(&mut Table) {
    move |table| table.name(parent, name, Name::Leads(ino))
}

/// That a name has gone.
pub(crate) fn gone(parent: Ino, name: Bytes) -> impl FnOnce(&mut Table) {
    move |table| table.name(parent, name, Name::Absent)
}

/// An entry without its inode, as it is kept.
pub(crate) fn bare(entry: &DirectoryEntry) -> DirectoryEntry {
    DirectoryEntry { attributes: None, ..entry.clone() }
}
