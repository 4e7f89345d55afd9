//! Leases: what clients may keep, and what must be asked back before it is changed.
//!
//! They live in the memory of the server that decides. A new one knows of none, so it changes nothing before every
//! session from before its start has said that it has forgotten all, or has ended.

mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use xtfs_core::{Error, Result, SessionId};

use table::Table;
pub(crate) use table::{Given, Grant, Object, Recall};

/// Recalls in one message.
const RECALLS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Leases {
    table: Mutex<Table>,
    /// A lease has ended.
    ended: Notify,
    /// There are recalls to send.
    recalls: Notify,
    streams: AtomicU64,
}

/// A stream on which a session hears of recalls, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listening<'a> {
    leases: &'a Leases,
    session: SessionId,
    stream: u64,
}

/// As long as it lives nobody but the session of the change gets a lease on the objects.
#[derive(Debug)]
#[must_use]
pub(crate) struct Changing<'a> {
    leases: &'a Leases,
    session: SessionId,
    objects: Vec<Object>,
}

/// As long as it lives nobody else gets an exclusive lease on the object.
#[derive(Debug)]
#[must_use]
pub(crate) struct Looking<'a> {
    leases: &'a Leases,
    session: SessionId,
    object: Object,
}

impl Leases {
    pub(crate) fn listen(&self, session: SessionId) -> Listening<'_> {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        self.table.lock().listen(session, stream);
        Listening { leases: self, session, stream }
    }

    pub(crate) fn listens(&self, session: SessionId) -> bool {
        self.table.lock().listens(session)
    }

    /// See [`Table::grant`].
    pub(crate) fn grant(&self, session: SessionId, object: Object) -> Option<Given> {
        let mut table = self.table.lock();
        let grant = table.grant(session, object);
        // The oldest may have to go for it.
        if table.has_unsent(session) {
            self.recalls.notify_waiters();
        }
        grant
    }

    pub(crate) fn withdraw(&self, session: SessionId, object: Object, grant: Grant) {
        self.table.lock().withdraw(session, object, grant);
        self.ended.notify_waiters();
    }

    /// Returns when no other session holds a lease on what is to be changed; until the end of the change nobody gets
    /// one. At the deadline it is undecided: a client does not answer, and its session has not expired yet.
    pub(crate) async fn change(
        &self,
        session: SessionId,
        objects: Vec<Object>,
        deadline: Instant,
    ) -> Result<Changing<'_>> {
        let changing = Changing { leases: self, session, objects };
        let objects = &changing.objects;
        let begin = |table: &mut Table| table.begin(session, objects);
        self.ask_back(deadline, begin, |table| !table.awaits_others(session, objects)).await?;
        Ok(changing)
    }

    /// Returns when no other session knows more of the object than what all can see.
    pub(crate) async fn look(
        &self,
        session: SessionId,
        object: Object,
        deadline: Instant,
    ) -> Result<Looking<'_>> {
        let looking = Looking { leases: self, session, object };
        let begin = |table: &mut Table| table.begin_look(session, object);
        self.ask_back(deadline, begin, |table| !table.hides(session, object)).await?;
        Ok(looking)
    }

    /// Begins what ends leases of others, and returns when they have given them back.
    async fn ask_back(
        &self,
        deadline: Instant,
        begin: impl FnOnce(&mut Table),
        is_back: impl Fn(&Table) -> bool,
    ) -> Result<()> {
        {
            let mut table = self.table.lock();
            begin(&mut table);
            if is_back(&table) {
                return Ok(());
            }
        }
        self.recalls.notify_waiters();
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the look, so that no end is missed.
            ended.as_mut().enable();
            if is_back(&self.table.lock()) {
                return Ok(());
            }
            if timeout_at(deadline, ended).await.is_err() {
                let text = "another client has not given back yet what it keeps of this";
                return Err(Error::Unavailable(text.into()));
            }
        }
    }

    /// See [`Table::make_exclusive`].
    pub(crate) fn make_exclusive(&self, session: SessionId, object: Object) -> Option<Grant> {
        self.table.lock().make_exclusive(session, object)
    }

    /// Since which grant the session has the object exclusively.
    pub(crate) fn exclusive(&self, session: SessionId, object: Object) -> Option<Grant> {
        self.table.lock().exclusive(session, object)
    }

    /// See [`Table::share`].
    pub(crate) fn share(&self, session: SessionId, object: Object, since: Grant) {
        self.table.lock().share(session, object, since);
        self.ended.notify_waiters();
    }

    pub(crate) fn hides(&self, session: SessionId, object: Object) -> bool {
        self.table.lock().hides(session, object)
    }

    /// What a volume's clients keep, all of it.
    pub(crate) fn held_of(&self, volume: xtfs_core::VolumeId) -> Vec<Object> {
        self.table.lock().held_of(volume)
    }

    pub(crate) fn recalled(&self, session: SessionId, recalls: &[Recall]) {
        let mut table = self.table.lock();
        recalls.iter().for_each(|recall| table.recalled(session, *recall));
        drop(table);
        self.ended.notify_waiters();
    }

    pub(crate) fn forget(&self, session: SessionId) {
        self.table.lock().forget(session);
        self.ended.notify_waiters();
    }

    pub(crate) fn count(&self) -> usize {
        self.table.lock().count()
    }
}

impl Listening<'_> {
    /// The next recalls to send. May be dropped.
    pub(crate) async fn recalls(&self) -> Vec<Recall> {
        loop {
            let more = self.leases.recalls.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let due = self.leases.table.lock().take_unsent(self.session, self.stream, RECALLS_MAX);
            if !due.is_empty() {
                return due;
            }
            more.await;
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.leases.table.lock().hang_up(self.session, self.stream);
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.leases.table.lock().end_look(self.session, self.object);
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.leases.table.lock().end(self.session, &self.objects);
    }
}
