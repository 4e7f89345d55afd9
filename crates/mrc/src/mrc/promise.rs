//! Leases on inodes: promised before a look, kept if what was seen may be kept; and asked back before a change.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use xtfs_core::{Error, Floor, Ino, Result, SessionId, VolumeId};
use xtfs_proto::v1;

use super::Mrc;
use crate::encode;
use crate::leases::{Changing, Given, Leases, Looking, Object};
use crate::service::Call;
use crate::state::command::WriteReport;
use crate::state::volume::Atime;
use crate::state::{Inode, VolumePolicy};

/// Between two looks whether the clients from before the start have come back.
const RETURN_PAUSE: Duration = Duration::from_millis(10);

/// A lease whose object is not looked at yet. Taken back if it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Promise<'a> {
    leases: &'a Leases,
    session: SessionId,
    object: Object,
    grant: Option<Given>,
}

impl Promise<'_> {
    /// What goes with the answer. `None`: what was seen must not be kept.
    pub(crate) fn keep(mut self, seen: &Inode, policy: &VolumePolicy) -> Option<v1::Lease> {
        if !may_keep(self.session, seen, policy) {
            return None;
        }
        let grant = self.grant.take()?;
        Some(v1::Lease {
            grant: grant.number.0,
            quiet_until_ns: policy.atime.quiet_until(seen).0,
            has_acl: seen.guarded().extended.is_some(),
            allocated: if seen.writing { seen.allocated.clone() } else { Vec::new() },
            exclusive: grant.is_exclusive && seen.writing,
            lazy_atime: policy.atime == Atime::Relatime,
            ..v1::Lease::default()
        })
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        // What the session had before it still has.
        if let Some(given) = self.grant.take().filter(|given| given.is_first) {
            self.leases.withdraw(self.session, self.object, given.number);
        }
    }
}

/// A file that is written changes without us; its only writer knows how. Where users count as others than they say the
/// client cannot tell what they may.
fn may_keep(session: SessionId, inode: &Inode, policy: &VolumePolicy) -> bool {
    // A cut that has not reached all columns yet changes what they occupy.
    inode.nlink > 0
        && inode.floor == Floor::NONE
        && !inode.is_written_by_others(session)
        && !policy.root_squash
        && !policy.chown_non_root
}

/// What is told of an inode that must not be kept.
fn forgotten(ino: Ino) -> v1::Known {
    v1::Known { ino: ino.0, ..Default::default() }
}

fn stops() -> Error {
    Error::Unavailable("the MRC stops".into())
}

impl Mrc {
    /// To be called before the inode is looked at.
    pub(crate) fn promise(&self, call: &Call, volume: VolumeId, ino: Ino) -> Promise<'_> {
        let (session, object) = (call.header.session, (volume, ino));
        // What a restart has lost is not there yet: writers, for one, of whom only their columns know.
        let grant = match self.clocks.awaits_others(session) {
            true => None,
            false => self.leases.grant(session, object),
        };
        Promise { leases: &self.leases, session, object, grant }
    }

    /// To be called before the inode is looked at, or opened: returns when no other client knows more of it than the MRC
    /// and the OSDs do.
    pub(crate) async fn look_for(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
    ) -> Result<Looking<'_>> {
        let session = call.header.session;
        if self.may_hide(session, volume, ino) {
            self.await_return(call).await?;
        }
        let deadline = Instant::from_std(call.deadline);
        tokio::select! {
            looking = self.leases.look(session, (volume, ino), deadline) => looking,
            () = self.stop.cancelled() => Err(stops()),
        }
    }

    /// Whether a look at the inode would have to wait for another client.
    pub(crate) fn hides(&self, call: &Call, volume: VolumeId, ino: Ino) -> bool {
        let session = call.header.session;
        self.leases.hides(session, (volume, ino)) || self.may_hide(session, volume, ino)
    }

    /// Who writes it since before the start of this server may have been the only one to look.
    fn may_hide(&self, session: SessionId, volume: VolumeId, ino: Ino) -> bool {
        self.clocks.awaits_others(session)
            && self.inode(volume, ino).is_ok_and(|inode| inode.is_written_by_others(session))
    }

    /// The session has closed the file: if it does not write it any more it hides nothing.
    pub(crate) fn share_closed(&self, call: &Call, volume: VolumeId, ino: Ino) {
        let session = call.header.session;
        // One that a newer open gets after the look is another.
        let Some(exclusive) = self.leases.exclusive(session, (volume, ino)) else { return };
        let writes = self.view(|view| view.any_volume(volume)?.opened(session, ino, true));
        if writes.is_err() {
            self.leases.share(session, (volume, ino), exclusive);
        }
    }

    /// The lease of a session that has opened the file to write it: an exclusive one if nobody else has it open.
    pub(crate) fn for_writer(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
        lease: v1::Lease,
    ) -> Result<v1::Lease> {
        let session = call.header.session;
        // Who opens it from now on asks it back.
        let Some(exclusive) = self.leases.make_exclusive(session, (volume, ino)) else {
            return Ok(lease);
        };
        if self.view(|view| view.any_volume(volume)?.is_open_elsewhere(ino, session))? {
            self.leases.share(session, (volume, ino), exclusive);
            return Ok(lease);
        }
        Ok(v1::Lease { exclusive: true, ..lease })
    }

    /// An inode as stored, and how it may be kept.
    pub(crate) fn look(&self, volume: VolumeId, ino: Ino) -> Result<(Inode, VolumePolicy)> {
        self.view(|view| {
            let volume = view.volume(volume)?;
            Ok((volume.inode(ino)?, volume.volume().policy))
        })
    }

    /// With the right to read the inode's data, if there is one to give: for a client that may open it soon.
    pub(crate) fn with_right(
        &self,
        call: &Call,
        volume: VolumeId,
        inode: &Inode,
        lease: v1::Lease,
    ) -> v1::Lease {
        let Some(layout) = &inode.layout else { return lease };
        let read = self.grant(call.header.session, volume, inode, layout, false);
        match (self.file_layout(layout), read) {
            (Ok(layout), Ok(read)) => v1::Lease { layout: Some(layout), read: Some(read), ..lease },
            // Who opens it will hear why.
            _ => lease,
        }
    }

    /// What the session may keep of inodes that it has changed, as they are now; without a lease of those that it must
    /// forget.
    pub(crate) fn known(
        &self,
        call: &Call,
        volume: VolumeId,
        inos: impl IntoIterator<Item = Ino>,
    ) -> Vec<v1::Known> {
        if !self.leases.listens(call.header.session) {
            return Vec::new();
        }
        let inos: Vec<_> = inos.into_iter().collect();
        let known = self.known_each(call, volume, &inos, None).into_iter().zip(inos);
        known.map(|(known, ino)| known.unwrap_or_else(|| forgotten(ino))).collect()
    }

    /// The same of one, which the session may write.
    pub(crate) fn known_one(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
        report: Option<&WriteReport>,
    ) -> Option<v1::Known> {
        self.known_each(call, volume, &[ino], report).pop().flatten()
    }

    /// The same of one that the session has changed, and of others, at one look.
    pub(crate) fn known_with(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
        others: &[Ino],
    ) -> (Option<v1::Known>, Vec<v1::Known>) {
        // Nobody who does not listen is told of others.
        if !self.leases.listens(call.header.session) {
            return (None, Vec::new());
        }
        let inos = [&[ino], others].concat();
        let mut known = self.known_each(call, volume, &inos, None).into_iter();
        let one = known.next().flatten();
        let others = known.zip(others);
        (one, others.map(|(known, &ino)| known.unwrap_or_else(|| forgotten(ino))).collect())
    }

    /// What may be kept of each.
    fn known_each(
        &self,
        call: &Call,
        volume: VolumeId,
        inos: &[Ino],
        report: Option<&WriteReport>,
    ) -> Vec<Option<v1::Known>> {
        let promises: Vec<_> = inos.iter().map(|&ino| self.promise(call, volume, ino)).collect();
        let seen = self.view(|view| {
            let volume = view.volume(volume)?;
            let inodes: Vec<_> = inos.iter().map(|&ino| volume.inode(ino).ok()).collect();
            Ok((inodes, volume.volume().policy))
        });
        let Ok((inodes, policy)) = seen else { return vec![None; inos.len()] };
        let known = |(promise, inode): (Promise<'_>, Option<Inode>)| {
            let inode = inode?;
            let told = report.filter(|report| inode.is_told_by(call.header.session, report));
            let seen = match told {
                Some(report) => inode.with_report(report),
                // Only the columns know, and nobody asks them for this.
                None if inode.writing => return None,
                None => inode,
            };
            promise.keep(&seen, &policy).map(|lease| encode::known(&seen, lease))
        };
        promises.into_iter().zip(inodes).map(known).collect()
    }

    /// Returns when nobody but the session relies on what it knows of these inodes; until the change is over nobody
    /// gets a new lease on them.
    pub(crate) async fn exclude(
        &self,
        call: &Call,
        volume: VolumeId,
        inos: impl IntoIterator<Item = Ino>,
    ) -> Result<Changing<'_>> {
        let objects: Vec<_> = inos.into_iter().map(|ino| (volume, ino)).collect();
        // Whoever comes back first tells of what it has open, with requests that change nothing others know of.
        if !objects.is_empty() {
            self.await_return(call).await?;
        }
        let deadline = Instant::from_std(call.deadline);
        tokio::select! {
            changing = self.leases.change(call.header.session, objects, deadline) => changing,
            () = self.stop.cancelled() => Err(stops()),
        }
    }

    /// Returns when no other client is left that may hold leases of the server before this one. A change that was
    /// answered before does not wait: what they know is the state with it, and they wait for each other's before they
    /// say that they hold none.
    async fn await_return(&self, call: &Call) -> Result<()> {
        let deadline = Instant::from_std(call.deadline);
        while self.clocks.awaits_others(call.header.session) && !call.header.lost {
            if Instant::now() + RETURN_PAUSE >= deadline {
                let text = "a client from before the start of the MRC has not come back yet";
                return Err(Error::Unavailable(text.into()));
            }
            tokio::select! {
                () = sleep(RETURN_PAUSE) => {}
                () = self.stop.cancelled() => return Err(stops()),
            }
        }
        Ok(())
    }

    /// The same of everything that is kept of a volume.
    pub(crate) async fn exclude_all(&self, call: &Call, volume: VolumeId) -> Result<Changing<'_>> {
        self.await_return(call).await?;
        let held = self.leases.held_of(volume);
        self.exclude(call, volume, held.into_iter().map(|(_, ino)| ino)).await
    }
}
