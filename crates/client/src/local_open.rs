//! Files that are opened to read under a lease, without asking. The MRC hears of it when it must know who holds the inode
//! open: before the lease is given back, before we take its name away ourselves, and for what only open files have.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use xtfs_core::access::Wanted;
use xtfs_core::{Error, Ino, Result};
use xtfs_proto::v1;

use crate::Caller;
use crate::attributes::FileKind;
use crate::cache::described;
use crate::file::{OpenFile, OpenFlags};
use crate::file_state::FileState;
use crate::method;
use crate::mount::Mount;
use crate::volume::Volume;

/// Before the MRC is told again.
const REGISTER_PAUSE: Duration = Duration::from_millis(100);

/// Files of which the MRC is told at the same time.
const REGISTERED_AT_ONCE: usize = 64;

/// Handles of one inode that the MRC was not asked for. To the MRC they are one open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalOpens {
    handles: u32,
    /// The MRC knows of it.
    registered: bool,
}

impl LocalOpens {
    pub(crate) fn opened(&mut self) {
        self.handles += 1;
    }

    /// Whether the MRC is to be told that it was the last one.
    pub(crate) fn closed(&mut self) -> bool {
        self.handles -= 1;
        self.handles == 0 && std::mem::take(&mut self.registered)
    }

    pub(crate) fn is_registered(self) -> bool {
        self.registered
    }

    pub(crate) fn are_unknown(self) -> bool {
        self.handles > 0 && !self.registered
    }

    /// The MRC knows now. Whether there still is one.
    fn registered(&mut self) -> bool {
        self.registered = self.handles > 0;
        self.registered
    }
}

impl Mount {
    /// Returns when the MRC knows that the file is open.
    pub(crate) async fn register(&self, file: &FileState, deadline: Instant) -> Result<()> {
        if !file.local_opens(|local| local.are_unknown()) {
            return Ok(());
        }
        let _one = timeout_at(deadline, file.registering.lock())
            .await
            .map_err(|_| Error::Deadline("the MRC is being told of an open file".into()))?;
        if !file.local_opens(|local| local.are_unknown()) {
            return Ok(());
        }
        let (volume, ino) = (self.mrc.volume.0, file.ino.0);
        let request = v1::OpenRequest { volume, ino, read: true, ..Default::default() };
        let asked = Instant::now();
        // Reading may have moved the atime.
        let change = self.change_of([file.ino]);
        let reply = self.mrc.change_in_once::<method::Open>(file.session, request, deadline).await;
        let (change, mut reply) = change.checked(reply)?;
        let inode = (file.ino, described(reply.attributes.take(), reply.lease.take()));
        change.done(reply.log.as_ref(), Some(inode), Vec::new(), |_| {});
        file.grant(reply.layout, reply.grant, asked)?;
        if !file.local_opens(LocalOpens::registered) {
            self.tell_closed(file).await;
        }
        Ok(())
    }

    /// Of all of these inodes. Until that is told, others would take open files for closed ones; only with the session it
    /// does not matter any more.
    pub(crate) async fn register_surely(&self, inos: impl IntoIterator<Item = Ino>) {
        let files: Vec<_> = inos.into_iter().filter_map(|ino| self.files.find(ino)).collect();
        for some in files.chunks(REGISTERED_AT_ONCE) {
            join_all(some.iter().map(|file| self.register_one_surely(file))).await;
        }
    }

    async fn register_one_surely(&self, file: &FileState) {
        while let Err(err) = self.register(file, self.deadline()).await {
            tracing::warn!(ino = %file.ino, %err, "tell the MRC that a file is open");
            let is_over = err.is_decided() || self.mrc.session() != file.session;
            if is_over || self.stop.is_cancelled() {
                return;
            }
            tokio::time::sleep(REGISTER_PAUSE).await;
        }
    }

    pub(crate) async fn tell_closed(&self, file: &FileState) {
        let closed = v1::Closed { ino: file.ino.0, write: false, report: None };
        self.tell_closes(file.session, vec![closed]).await;
    }
}

impl Volume {
    /// Opens a file to read or execute it, if what is kept says that this changes nothing. For who knows that the caller
    /// may, as the kernel does.
    pub fn open_kept(&self, ino: Ino, flags: OpenFlags) -> Option<Arc<OpenFile>> {
        let plain = OpenFlags {
            read: flags.read,
            execute: flags.execute,
            direct: flags.direct,
            ..OpenFlags::default()
        };
        if flags != plain {
            return None;
        }
        let now = self.mount().mrc.now();
        let (attributes, right) = self.mount().kept(|table| {
            let kept = table.kept(ino).filter(|_| !table.is_changing(ino))?;
            let kept = (kept.attributes.kind == FileKind::File)
                .then(|| (kept.attributes.clone(), kept.lease.right.clone()))?;
            table.read(ino, now).then_some(kept)
        })?;
        OpenFile::local(self.mount(), &attributes, right, flags)
    }

    /// The same for a caller whose rights are not known yet.
    pub(crate) fn open_kept_for(
        &self,
        caller: &Caller,
        ino: Ino,
        flags: OpenFlags,
    ) -> Option<Result<Arc<OpenFile>>> {
        let wanted = match flags.execute {
            true => Wanted::EXECUTE,
            false => Wanted::READ,
        };
        match self.mount().kept(|table| table.judge(caller, ino, wanted))? {
            Ok(()) => self.open_kept(ino, flags).map(Ok),
            // The MRC may have another reason to refuse it.
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mrc_hears_of_the_last_close_if_it_heard_of_an_open() {
        let mut local = LocalOpens::default();
        assert!(!local.are_unknown());
        local.opened();
        local.opened();
        assert!(local.are_unknown());
        assert!(local.registered());
        assert!(!local.are_unknown());
        assert!(!local.closed());
        assert!(local.closed());
        local.opened();
        assert!(local.are_unknown(), "the MRC knew of the others only");
        assert!(!local.closed());
        assert!(!local.registered(), "closed while the MRC was told");
        assert_eq!(local, LocalOpens::default());
    }
}
