//! Who was promised what, and who is changing what. Pure: it sends nothing and waits for nothing.
//!
//! * A lease is given to a session that can be told of its end, on an inode that nobody else changes.
//! * A change first ends the leases of all other sessions on what it touches, and goes on when they have said so.
//! * The only holder may have it exclusively: then who looks at it asks it back as well.
//! * Grants are numbered within their session. A recall names the newest number that it ends, so that an answer which
//!   it overtakes gives nothing any more.

use std::collections::{BTreeMap, HashMap};

use xtfs_core::{Ino, SessionId, VolumeId};

/// Leases of one session; beyond it the oldest is recalled.
const LEASES_PER_SESSION_MAX: usize = 131_072;
/// Recalls that one session has not answered; beyond it the session gets no more leases.
const RECALLED_MAX: usize = 4096;

pub(crate) type Object = (VolumeId, Ino);

/// Counts the grants of a session, from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) number: Grant,
    /// The session had none on the object.
    pub(crate) is_first: bool,
    /// The session has it exclusively, and need not give it back yet.
    pub(crate) is_exclusive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recall {
    pub(crate) object: Object,
    pub(crate) up_to: Grant,
}

#[derive(Debug)]
pub(crate) struct Table {
    objects: HashMap<Object, Entry>,
    sessions: HashMap<SessionId, Holder>,
    /// Of one session.
    leases_max: usize,
}

#[derive(Debug, Default)]
struct Entry {
    holders: Vec<(SessionId, Grant)>,
    /// Of the only holder, since this grant.
    exclusive: Option<(SessionId, Grant)>,
    /// Sessions that are about to look at it or to open it, each as often as it does.
    lookers: Vec<SessionId>,
    /// Sessions whose changes are under way, each as often as it has one.
    changers: Vec<SessionId>,
}

#[derive(Debug, Default)]
struct Holder {
    last: Grant,
    /// What it holds, the oldest first.
    held: BTreeMap<Grant, Object>,
    /// Recalls without an answer.
    recalled: HashMap<Object, Grant>,
    /// Recalls that are still to be sent.
    unsent: Vec<Object>,
    /// The stream on which it is told, if there is one. Each has another number.
    stream: Option<u64>,
}

impl Entry {
    /// Since which grant the session has it exclusively.
    fn exclusive_of(&self, session: SessionId) -> Option<Grant> {
        self.exclusive.filter(|(of, _)| *of == session).map(|(_, since)| since)
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new(LEASES_PER_SESSION_MAX)
    }
}

impl Table {
    pub(crate) fn new(leases_max: usize) -> Self {
        Table { objects: HashMap::new(), sessions: HashMap::new(), leases_max }
    }

    /// From now on the session hears of recalls on `stream`, those without an answer first.
    pub(crate) fn listen(&mut self, session: SessionId, stream: u64) {
        let holder = self.sessions.entry(session).or_default();
        holder.stream = Some(stream);
        holder.unsent = holder.recalled.keys().copied().collect();
    }

    /// The stream has ended. What the session holds stays until it says so, or ends.
    pub(crate) fn hang_up(&mut self, session: SessionId, stream: u64) {
        if let Some(holder) = self.sessions.get_mut(&session)
            && holder.stream == Some(stream)
        {
            holder.stream = None;
        }
    }

    pub(crate) fn listens(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|holder| holder.stream.is_some())
    }

    /// Gives a lease, or a newer one. `None`: somebody else is changing it, or the session cannot be told. To be asked
    /// for before the object is looked at: what was seen after it holds until the recall.
    pub(crate) fn grant(&mut self, session: SessionId, object: Object) -> Option<Given> {
        let holder = self.sessions.get_mut(&session)?;
        holder.stream?;
        if holder.recalled.len() >= RECALLED_MAX {
            return None;
        }
        let entry = self.objects.entry(object).or_default();
        if entry.changers.iter().any(|changer| *changer != session) {
            return None;
        }
        holder.last.0 += 1;
        let grant = holder.last;
        let held = entry.holders.iter_mut().find(|(of, _)| *of == session);
        let is_first = held.is_none();
        match held {
            Some((_, held)) => {
                holder.held.remove(held);
                *held = grant;
            }
            None => entry.holders.push((session, grant)),
        }
        holder.held.insert(grant, object);
        let is_exclusive =
            entry.exclusive_of(session).is_some() && !holder.recalled.contains_key(&object);
        self.keep_bound(session);
        Some(Given { number: grant, is_first, is_exclusive })
    }

    /// Makes the lease of the only holder an exclusive one, unless somebody else is about to look or to change.
    pub(crate) fn make_exclusive(&mut self, session: SessionId, object: Object) -> Option<Grant> {
        let entry = self.objects.get_mut(&object)?;
        let others = |sessions: &[SessionId]| sessions.iter().any(|other| *other != session);
        let [(holder, grant)] = entry.holders[..] else { return None };
        let recalled = self.sessions.get(&session).map(|it| it.recalled.contains_key(&object));
        let free = holder == session && recalled == Some(false);
        if !free || others(&entry.lookers) || others(&entry.changers) {
            return None;
        }
        entry.exclusive = Some((session, grant));
        Some(grant)
    }

    /// Since which grant the session has the object exclusively.
    pub(crate) fn exclusive(&self, session: SessionId, object: Object) -> Option<Grant> {
        self.objects.get(&object)?.exclusive_of(session)
    }

    /// The session has nothing to tell any more that others cannot see; its lease stays. Not if it has had it exclusively
    /// anew after `since`.
    pub(crate) fn share(&mut self, session: SessionId, object: Object, since: Grant) {
        if let Some(entry) = self.objects.get_mut(&object)
            && entry.exclusive_of(session) == Some(since)
        {
            entry.exclusive = None;
        }
    }

    /// `session` is about to look at it: an exclusive lease of another ends.
    pub(crate) fn begin_look(&mut self, session: SessionId, object: Object) {
        let entry = self.objects.entry(object).or_default();
        entry.lookers.push(session);
        if let Some((other, _)) = entry.exclusive.filter(|(other, _)| *other != session)
            && let Some(holder) = self.sessions.get_mut(&other)
        {
            recall(holder, object);
        }
    }

    /// Whether another session knows more of it than all can see.
    pub(crate) fn hides(&self, session: SessionId, object: Object) -> bool {
        let exclusive = self.objects.get(&object).and_then(|entry| entry.exclusive);
        exclusive.is_some_and(|(other, _)| other != session)
    }

    pub(crate) fn end_look(&mut self, session: SessionId, object: Object) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        if let Some(at) = entry.lookers.iter().position(|looker| *looker == session) {
            entry.lookers.swap_remove(at);
        }
        self.prune(object);
    }

    /// The oldest goes; nobody waits for that.
    fn keep_bound(&mut self, session: SessionId) {
        let Some(holder) = self.sessions.get_mut(&session) else { return };
        if holder.held.len() <= self.leases_max {
            return;
        }
        let oldest = holder.held.values().find(|object| !holder.recalled.contains_key(object));
        if let Some(&object) = oldest {
            recall(holder, object);
        }
    }

    /// What was granted was not told to the session, which had no other.
    pub(crate) fn withdraw(&mut self, session: SessionId, object: Object, grant: Grant) {
        self.release(session, object, |held| held == grant);
    }

    /// A change of `session` begins: the leases of all others end.
    pub(crate) fn begin(&mut self, session: SessionId, objects: &[Object]) {
        for object in objects {
            let entry = self.objects.entry(*object).or_default();
            entry.changers.push(session);
            for (other, _) in entry.holders.iter().filter(|(other, _)| *other != session) {
                if let Some(holder) = self.sessions.get_mut(other) {
                    recall(holder, *object);
                }
            }
        }
    }

    /// Whether somebody else still holds a lease on one of them.
    pub(crate) fn awaits_others(&self, session: SessionId, objects: &[Object]) -> bool {
        objects.iter().any(|object| {
            let entry = self.objects.get(object);
            entry.is_some_and(|entry| entry.holders.iter().any(|(other, _)| *other != session))
        })
    }

    /// The change is over.
    pub(crate) fn end(&mut self, session: SessionId, objects: &[Object]) {
        for object in objects {
            if let Some(entry) = self.objects.get_mut(object)
                && let Some(at) = entry.changers.iter().position(|changer| *changer == session)
            {
                entry.changers.swap_remove(at);
                self.prune(*object);
            }
        }
    }

    pub(crate) fn has_unsent(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|holder| !holder.unsent.is_empty())
    }

    /// Recalls that the session is to be told of, once.
    /// An older stream, which nobody reads any more, gets none.
    pub(crate) fn take_unsent(
        &mut self,
        session: SessionId,
        stream: u64,
        limit: usize,
    ) -> Vec<Recall> {
        let holder = self.sessions.get_mut(&session);
        let Some(holder) = holder.filter(|holder| holder.stream == Some(stream)) else {
            return Vec::new();
        };
        let rest = holder.unsent.len().saturating_sub(limit);
        let due = holder.unsent.split_off(rest);
        let up_to = |object: &Object| holder.recalled.get(object).copied();
        due.into_iter()
            .filter_map(|object| Some(Recall { object, up_to: up_to(&object)? }))
            .collect()
    }

    /// The session has forgotten what it kept under grants up to the recall's.
    pub(crate) fn recalled(&mut self, session: SessionId, recall: Recall) {
        if let Some(holder) = self.sessions.get_mut(&session)
            && holder.recalled.get(&recall.object).is_some_and(|up_to| *up_to <= recall.up_to)
        {
            holder.recalled.remove(&recall.object);
        }
        if let Some(entry) = self.objects.get_mut(&recall.object)
            && entry.exclusive_of(session).is_some_and(|since| since <= recall.up_to)
        {
            entry.exclusive = None;
        }
        self.release(session, recall.object, |held| held <= recall.up_to);
    }

    /// The session is over.
    pub(crate) fn forget(&mut self, session: SessionId) {
        let Some(holder) = self.sessions.remove(&session) else { return };
        for object in holder.held.into_values() {
            self.release(session, object, |_| true);
        }
    }

    /// Ends all leases of a volume.
    pub(crate) fn held_of(&self, volume: VolumeId) -> Vec<Object> {
        let held = self.objects.iter().filter(|(_, entry)| !entry.holders.is_empty());
        held.map(|(object, _)| *object).filter(|object| object.0 == volume).collect()
    }

    /// Of all sessions.
    pub(crate) fn count(&self) -> usize {
        self.sessions.values().map(|holder| holder.held.len()).sum()
    }

    fn release(&mut self, session: SessionId, object: Object, ends: impl Fn(Grant) -> bool) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let held = entry.holders.iter().position(|(of, held)| *of == session && ends(*held));
        if let Some(at) = held {
            let (_, grant) = entry.holders.swap_remove(at);
            entry.exclusive = entry.exclusive.filter(|(of, _)| *of != session);
            if let Some(holder) = self.sessions.get_mut(&session) {
                holder.held.remove(&grant);
            }
        }
        self.prune(object);
    }

    fn prune(&mut self, object: Object) {
        let unused = |entry: &Entry| {
            entry.holders.is_empty() && entry.changers.is_empty() && entry.lookers.is_empty()
        };
        if self.objects.get(&object).is_some_and(unused) {
            self.objects.remove(&object);
        }
    }
}

fn recall(holder: &mut Holder, object: Object) {
    let known = holder.recalled.insert(object, holder.last);
    if known != Some(holder.last) {
        holder.unsent.push(object);
    }
}
