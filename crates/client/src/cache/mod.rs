//! What the mount keeps of names and inodes under leases of the MRC, so that it need not ask.
//!
//! It is used only while the session surely lasts. What is recalled goes before the MRC is told so.

mod table;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use xtfs_core::access::{self, Guarded, Identity, Wanted};
use xtfs_core::{Error, Ino, Result, SessionId, Timestamp};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, DirectoryEntry, FileKind, required};
use crate::io::ColumnWritten;

use table::Lease;
pub(crate) use table::{Described, Name, ReadRight, Table, Tick};

/// In whose session, of which term of the MRC's log, and when something was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    session: SessionId,
    at: Tick,
}

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    session: SessionId,
    /// Of the MRC's log: leases of another are none.
    term: u64,
    /// Session and term of which nothing older is relied on anywhere.
    entered: (SessionId, u64),
    /// A change of ours may still be carried out, nobody knows when; counts such.
    distrust: u64,
    distrusted: bool,
    table: Table,
}

/// Another inode that an answer describes.
pub(crate) fn described(
    attributes: Option<v1::Attributes>,
    lease: Option<v1::Lease>,
) -> Option<Described> {
    let lease = lease?;
    let attributes = required(attributes).ok()?;
    let lease = Lease {
        grant: lease.grant,
        quiet_until: Timestamp(lease.quiet_until_ns),
        has_acl: lease.has_acl,
        allocated: lease.allocated,
        exclusive: lease.exclusive,
        lazy_atime: lease.lazy_atime,
        right: lease.layout.zip(lease.read).map(|(layout, grant)| ReadRight {
            layout,
            grant,
            given: Instant::now(),
        }),
    };
    Some(Described { attributes, lease })
}

/// Of what an answer says of inodes besides.
pub(crate) fn known(known: v1::Known) -> Option<Described> {
    described(known.attributes, known.lease)
}

impl Cache {
    /// Before something is asked.
    pub(crate) fn asked(&self, session: SessionId) -> Asked {
        Asked { session, at: self.0.lock().table.now() }
    }

    /// The session and the term whose leases count.
    pub(crate) fn of(&self) -> (SessionId, u64) {
        let inner = self.0.lock();
        (inner.session, inner.term)
    }

    /// From now on the leases of this session and term count. Says on what there were some of others: the kernel is to
    /// be told before the MRC hears that they are forgotten.
    pub(crate) fn enter(&self, session: SessionId, term: u64) -> Vec<Ino> {
        let mut inner = self.0.lock();
        (inner.session, inner.term) = (session, term);
        inner.table.forget_all()
    }

    /// Nothing older is relied on any more, also not by the kernel.
    pub(crate) fn entered(&self, session: SessionId, term: u64) {
        self.0.lock().entered = (session, term);
    }

    pub(crate) fn has_entered(&self) -> (SessionId, u64) {
        self.0.lock().entered
    }

    /// Nothing is kept before [`Cache::trust`]. Says what was, and whether somebody sees to that already.
    pub(crate) fn distrust(&self) -> (Vec<Ino>, bool) {
        let mut inner = self.0.lock();
        inner.distrust += 1;
        let seen_to = std::mem::replace(&mut inner.distrusted, true);
        (inner.table.forget_all(), seen_to)
    }

    pub(crate) fn distrusts(&self) -> u64 {
        self.0.lock().distrust
    }

    /// No change of ours can be carried out late any more, of those before `distrusts`. `false`: there were more.
    pub(crate) fn trust(&self, distrusts: u64) -> bool {
        let mut inner = self.0.lock();
        let all = inner.distrust == distrusts;
        inner.distrusted &= !all;
        all
    }

    /// What can be relied on if the session still lasts.
    pub(crate) fn trusted<T>(&self, look: impl FnOnce(&mut Table) -> Option<T>) -> Option<T> {
        let mut inner = self.0.lock();
        if inner.distrusted { None } else { look(&mut inner.table) }
    }

    fn of_the_same<T>(
        &self,
        asked: Asked,
        log: Option<&v1::LogStatus>,
        then: impl FnOnce(&mut Table) -> T,
    ) -> Option<T> {
        let mut inner = self.0.lock();
        let same = inner.is_of(asked.session, log);
        same.then(|| then(&mut inner.table))
    }

    /// Attributes that were answered, with what is kept back. `None`: some of that was written meanwhile, so that the
    /// answer may be without it; they are to be asked for again.
    pub(crate) fn current(&self, asked: Asked, mut attributes: Attributes) -> Option<Attributes> {
        let inner = self.0.lock();
        if inner.table.was_flushed_since(attributes.ino, asked.at) {
            return None;
        }
        inner.table.add_kept_back(&mut attributes);
        Some(attributes)
    }

    /// Takes in what an answer describes.
    pub(crate) fn learn(
        &self,
        asked: Asked,
        log: Option<&v1::LogStatus>,
        described: impl IntoIterator<Item = Described>,
    ) {
        self.of_the_same(asked, log, |table| {
            for described in described {
                table.learn(asked.at, described);
            }
        });
    }

    /// Takes in a look-up: the directory, and what the name leads to.
    pub(crate) fn learn_name(
        &self,
        asked: Asked,
        log: Option<&v1::LogStatus>,
        directory: Option<Described>,
        name: Bytes,
        leads: Name,
    ) {
        self.of_the_same(asked, log, |table| {
            if let Some(directory) = directory {
                let parent = directory.attributes.ino;
                if table.learn(asked.at, directory) {
                    table.name(parent, name, leads);
                }
            }
        });
    }

    /// Takes in a page of a listing; all of it is there if it is `whole`.
    pub(crate) fn learn_page(
        &self,
        asked: Asked,
        log: Option<&v1::LogStatus>,
        directory: Option<Described>,
        (parent, entries): (Ino, &[DirectoryEntry]),
        whole: bool,
    ) {
        self.of_the_same(asked, log, |table| {
            let Some(directory) = directory else { return };
            let ino = directory.attributes.ino;
            if !table.learn(asked.at, directory) {
                return;
            }
            if whole {
                table.list(ino, parent, entries.into());
            } else {
                for entry in entries {
                    table.name(ino, entry.name.clone(), Name::Leads(entry.ino));
                }
            }
        });
    }

    /// A change of ours has ended: of these inodes, and those that the answer describes, or says nothing of.
    pub(crate) fn changed(
        &self,
        asked: Asked,
        log: Option<&v1::LogStatus>,
        inos: &[Ino],
        described: Vec<(Ino, Option<Described>)>,
        then: impl FnOnce(&mut Table),
    ) {
        let mut inner = self.0.lock();
        let same = inner.is_of(asked.session, log);
        let unnamed = inos.iter().filter(|ino| !described.iter().any(|(named, _)| named == *ino));
        let unnamed: Vec<_> = unnamed.map(|ino| (*ino, None)).collect();
        for (ino, described) in described.into_iter().chain(unnamed) {
            inner.table.changed(asked.at, ino, described.filter(|_| same));
        }
        if same {
            then(&mut inner.table);
        }
    }

    /// A write of ours has ended.
    pub(crate) fn wrote(
        &self,
        ino: Ino,
        end: u64,
        times: (Timestamp, Timestamp),
        columns: &[ColumnWritten],
    ) {
        let allocated = columns.iter().map(|written| (written.column, written.allocated));
        self.0.lock().table.wrote(ino, end, times, allocated);
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.0.lock().table)
    }
}

impl Inner {
    /// Whether an answer's leases count.
    fn is_of(&self, session: SessionId, log: Option<&v1::LogStatus>) -> bool {
        let term = log.map_or(0, |log| log.term);
        !self.distrusted && (self.session, self.term) == (session, term)
    }
}

impl Table {
    /// What may be told of a kept inode to a caller who wants this of it. `None`: the MRC must judge.
    pub(crate) fn judge(&self, caller: &Caller, ino: Ino, wanted: Wanted) -> Option<Result<()>> {
        let kept = self.kept(ino)?;
        if kept.lease.has_acl {
            return None;
        }
        let of = &kept.attributes;
        let guarded = Guarded {
            uid: of.uid,
            gid: of.gid,
            mode: of.mode,
            directory: of.kind == FileKind::Directory,
            extended: None,
        };
        Some(access::check(&Identity::from(caller.clone()), guarded, wanted))
    }

    /// `None`: it is to be asked for.
    pub(crate) fn attributes_of(&self, ino: Ino) -> Option<Attributes> {
        self.kept(ino).map(|kept| kept.attributes.clone())
    }

    /// The inode behind a name, if both are kept.
    pub(crate) fn found(&self, parent: Ino, name: &[u8]) -> Option<Result<Attributes>> {
        match self.look_up(parent, name)? {
            Name::Absent => Some(Err(Error::NotFound)),
            Name::Leads(ino) => self.attributes_of(ino).map(Ok),
        }
    }
}
