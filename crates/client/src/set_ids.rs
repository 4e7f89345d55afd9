//! Suid and sgid of a file that is open for writing: they go before what a user writes arrives (R12).
//!
//! Whether they are set is known from the answers to opens and renewals: the MRC raises the file's epoch when somebody
//! sets them, so that whoever writes under an older one is refused, and renews.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use xtfs_core::access::{SGID, SUID};
use xtfs_core::{Error, Result};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::{Attributes, SetAttr, required};
use crate::cache::described;
use crate::file::OpenFile;
use crate::file_state::FileState;
use crate::method;
use crate::mount::Mount;
use crate::recalls::Forget;

#[derive(Debug, Default)]
pub(crate) struct SetIds {
    inner: Mutex<Inner>,
    /// Held by whoever strips.
    stripping: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Set, as of this change of the inode.
    set: Option<u64>,
    /// The volume takes root for nobody.
    root_squash: bool,
    last: u64,
    /// Who writes at the moment and must not leave them. Bounded by the writes under way.
    writers: BTreeMap<u64, Writer>,
}

#[derive(Debug)]
struct Writer {
    caller: Caller,
    /// The change of the inode by which all went that this one may not leave.
    stripped: u64,
}

/// As long as it lives, what is written to the file takes suid and sgid away.
#[derive(Debug)]
#[must_use]
pub struct Strips<'a> {
    of: &'a SetIds,
    number: u64,
}

impl Drop for Strips<'_> {
    fn drop(&mut self) {
        self.of.inner.lock().writers.remove(&self.number);
    }
}

impl SetIds {
    /// Answers may come in any order: that they are set is always believed, as it costs but a question.
    pub(crate) fn saw(&self, attributes: &Attributes) {
        let change = attributes.change;
        let set = &mut self.inner.lock().set;
        if attributes.mode & (SUID | SGID) != 0 {
            *set = (*set).max(Some(change));
        } else {
            *set = set.filter(|at| *at > change);
        }
    }

    pub(crate) fn squash_root(&self, root_squash: bool) {
        self.inner.lock().root_squash = root_squash;
    }

    fn strips(&self, caller: &Caller, privileged: bool) -> Option<Strips<'_>> {
        let mut inner = self.inner.lock();
        if privileged && !inner.root_squash {
            return None;
        }
        inner.last += 1;
        let number = inner.last;
        inner.writers.insert(number, Writer { caller: caller.clone(), stripped: 0 });
        Some(Strips { of: self, number })
    }

    pub(crate) fn are_due(&self) -> bool {
        self.due().is_some()
    }

    /// A writer for whom they have to go.
    fn due(&self) -> Option<(u64, Caller)> {
        let inner = self.inner.lock();
        let set = inner.set?;
        let due = inner.writers.iter().find(|(_, writer)| writer.stripped < set);
        due.map(|(number, writer)| (*number, writer.caller.clone()))
    }

    /// Sgid may stay for some.
    fn stripped(&self, number: u64, change: u64) {
        if let Some(writer) = self.inner.lock().writers.get_mut(&number) {
            writer.stripped = change;
        }
    }
}

impl OpenFile {
    /// For the time of a write on behalf of `caller`; `privileged` if suid and sgid may stay. Nobody is on a volume that
    /// does not trust the root of its clients.
    pub fn strips_set_ids(&self, caller: &Caller, privileged: bool) -> Option<Strips<'_>> {
        self.state().set_ids.strips(caller, privileged)
    }
}

impl Mount {
    /// Before a write under the rights that the file has.
    pub(crate) async fn strip_set_ids(&self, file: &FileState, deadline: Instant) -> Result<()> {
        if !file.set_ids.are_due() {
            return Ok(());
        }
        let _stripping = timeout_at(deadline, file.set_ids.stripping.lock())
            .await
            .map_err(|_| Error::Deadline("suid and sgid of the file".into()))?;
        while let Some((writer, caller)) = file.set_ids.due() {
            let set = SetAttr { by_handle: true, kill_suid_sgid: true, ..SetAttr::default() };
            let report = file.report.lock().to_wire();
            let wire = set.to_wire(self.mrc.volume.0, file.ino);
            let request = v1::SetAttrRequest { report, ..wire };
            let change = self.change_of([file.ino]);
            let reply = self.mrc.change_once::<method::SetAttr>(&caller, request, deadline);
            let (change, reply) = change.checked(reply.await)?;
            let attributes = required(reply.attributes)?;
            let inode = (file.ino, described(reply.attributes, reply.lease));
            change.done(reply.log.as_ref(), Some(inode), reply.known, |_| {});
            self.forgetting.tell(vec![file.ino], Forget::Attributes).await;
            file.set_ids.saw(&attributes);
            file.set_ids.stripped(writer, attributes.change);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use xtfs_core::{Ino, Timestamp};

    use super::*;
    use crate::attributes::FileKind;

    fn saw(ids: &SetIds, change: u64, mode: u32) {
        ids.saw(&Attributes {
            ino: Ino(2),
            generation: 1,
            kind: FileKind::File,
            mode,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            allocated: 0,
            atime: Timestamp(0),
            mtime: Timestamp(0),
            ctime: Timestamp(0),
            btime: Timestamp(0),
            change,
            rdev: 0,
            stripe_size: 0,
        });
    }

    #[test]
    fn an_older_answer_does_not_hide_that_they_are_set() {
        let ids = SetIds::default();
        let _strips = ids.strips(&Caller::ROOT, false);
        saw(&ids, 5, 0o755);
        assert!(ids.due().is_none());
        saw(&ids, 7, 0o4755);
        saw(&ids, 6, 0o755);
        assert!(ids.due().is_some());
        saw(&ids, 8, 0o755);
        assert!(ids.due().is_none());
    }

    #[test]
    fn who_has_stripped_is_asked_again_only_if_they_were_set_again() {
        let ids = SetIds::default();
        saw(&ids, 5, 0o6767);
        assert!(ids.due().is_none(), "nobody writes");
        let strips = ids.strips(&Caller::ROOT, false).unwrap();
        let (writer, _) = ids.due().unwrap();
        saw(&ids, 6, 0o2767);
        ids.stripped(writer, 6);
        assert!(ids.due().is_none(), "sgid stays for a member");
        let other = ids.strips(&Caller::ROOT, false);
        assert!(ids.due().is_some_and(|(number, _)| number != writer));
        drop(other);
        saw(&ids, 9, 0o6767);
        assert_eq!(ids.due().map(|(number, _)| number), Some(writer));
        drop(strips);
        assert!(ids.due().is_none());
    }

    #[test]
    fn root_leaves_them_unless_it_is_squashed() {
        let ids = SetIds::default();
        saw(&ids, 5, 0o4755);
        assert!(ids.strips(&Caller::ROOT, true).is_none());
        ids.squash_root(true);
        let strips = ids.strips(&Caller::ROOT, true);
        assert!(strips.is_some() && ids.due().is_some());
    }
}
