//! The deterministic state machine: the same commands in the same order make the same bytes.

use serde::{Deserialize, Serialize};
use xtfs_core::access::Identity;
use xtfs_core::{
    Error, ErrorClass, GroupId, RequestNumber, Result, SessionId, Timestamp, VolumeId,
};
use xtfs_kv::{KeyRange, Transaction};

use super::change::Change;
use super::command::{Action, Answer, Command, Origin, Reply};
use super::keys::{Keys, load, load_result, store};
use super::ops::{self, replica_set, reserve, session, volume};
use super::session::{RESULTS_MAX, Session};
use super::volume::Volume;

/// The first number that is handed out. Those below stand for themselves: no number, the root.
const FIRST_NUMBER: u64 = 16;

/// State of a group that every command may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    /// The largest time so far.
    pub(super) now: Timestamp,
    /// Numbers below may be handed out.
    pub(super) reserved: u64,
    /// Numbers below have arrived, but for those in gaps.
    pub(super) seen: u64,
    /// How many volumes were ever made.
    pub(super) volumes: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct MrcState {
    group: GroupId,
}

/// What an action of the group changes.
#[derive(Debug)]
pub(super) struct Group<'a, 'b> {
    pub(super) tx: &'a mut Transaction<'b>,
    pub(super) id: GroupId,
    pub(super) keys: Keys,
    pub(super) now: Timestamp,
    pub(super) counters: Counters,
}

impl Counters {
    pub(super) fn load(read: &dyn xtfs_kv::Read, keys: Keys) -> Result<Counters> {
        let start =
            Counters { now: Timestamp(0), reserved: FIRST_NUMBER, seen: FIRST_NUMBER, volumes: 0 };
        Ok(load(read, &keys.counters())?.unwrap_or(start))
    }
}

impl MrcState {
    pub fn new(group: GroupId) -> Self {
        MrcState { group }
    }

    /// A refusal is a reply. An error is a store that cannot be read.
    pub fn apply(&self, command: Command, tx: &mut Transaction<'_>) -> Result<Reply> {
        let keys = Keys::of_group(self.group);
        let mut counters = Counters::load(tx, keys)?;
        counters.now = counters.now.max(command.now);
        let mut group = Group { tx, id: self.group, keys, now: counters.now, counters };
        let fresh = group.see_numbers(&command);
        store(group.tx, &keys.counters(), &group.counters)?;
        let reply = match (fresh, command.origin) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), None) => group.act(command),
            (Ok(()), Some(origin)) => group.answer_once(origin, command),
        };
        match reply {
            Err(broken) if broken.class() == ErrorClass::Broken => Err(broken),
            reply => Ok(reply),
        }
    }
}

impl<'b> Group<'_, 'b> {
    fn see_numbers(&mut self, command: &Command) -> Result<()> {
        let mut numbers = command.numbers();
        numbers.sort_unstable();
        numbers.dedup();
        // All are noted, also if one is refused.
        let seen: Vec<_> = numbers.into_iter().map(|number| reserve::see(self, number)).collect();
        seen.into_iter().collect()
    }

    /// Carries out a client's request unless that was done before: then the answer is the same again.
    fn answer_once(&mut self, origin: Origin, command: Command) -> Reply {
        let Origin { session, number, lowest_unanswered } = origin;
        let session_key = self.keys.session(session);
        let mut row: Session = load(self.tx, &session_key)?.ok_or(Error::SessionLost)?;
        if row.volume != command.volume {
            return Err(Error::Invalid("the session is at another volume".into()));
        }
        if number.0 == 0 || lowest_unanswered > number {
            return Err(Error::Invalid(format!("request number {number} cannot be")));
        }
        let result_key = self.keys.result(session, number);
        if let Some(answer) = load_result(self.tx, &result_key)? {
            return answer;
        }
        if number < row.lowest_unanswered {
            return Err(Error::Invalid(format!("the answer to request {number} is forgotten")));
        }
        self.forget_results(&mut row, lowest_unanswered)?;
        if row.results >= RESULTS_MAX {
            store(self.tx, &session_key, &row)?;
            return Err(Error::Overloaded("the session has too many unconfirmed requests".into()));
        }
        let answer = self.act(command);
        let decided = match &answer {
            Ok(_) => true,
            Err(refusal) => refusal.class() == ErrorClass::Decided,
        };
        if decided {
            row.results += 1;
            store(self.tx, &result_key, &answer)?;
        }
        store(self.tx, &session_key, &row)?;
        answer
    }

    /// P3: what the client has safely is not asked for again.
    fn forget_results(&mut self, row: &mut Session, lowest: RequestNumber) -> Result<()> {
        if lowest <= row.lowest_unanswered {
            return Ok(());
        }
        let range = KeyRange {
            start: self.keys.result(row.session, row.lowest_unanswered),
            end: Some(self.keys.result(row.session, lowest)),
        };
        let limit = usize::try_from(RESULTS_MAX).unwrap_or(usize::MAX);
        for (key, _) in xtfs_kv::Read::scan(&*self.tx, &range, limit)? {
            self.tx.delete(&key);
            row.results = row.results.saturating_sub(1);
        }
        row.lowest_unanswered = lowest;
        Ok(())
    }

    /// All of the action or nothing.
    fn act(&mut self, command: Command) -> Reply {
        let (id, keys, now) = (self.id, self.keys, self.now);
        let before = self.counters;
        let done = self.tx.nested(|tx| {
            let mut group = Group { tx, id, keys, now, counters: before };
            let answer = group.dispatch(command)?;
            Ok::<_, Error>((answer, group.counters))
        });
        let (answer, counters) = done?;
        if counters != before {
            self.counters = counters;
            store(self.tx, &keys.counters(), &counters)?;
        }
        Ok(answer)
    }

    fn dispatch(&mut self, command: Command) -> Result<Answer> {
        let Command { caller, origin, volume, action, .. } = command;
        match action {
            Action::Nothing => Ok(Answer::Done),
            Action::Reserve(reserve) => reserve::reserve(self, reserve),
            Action::ForgetNeverUsed(range) => reserve::forget(self, range),
            Action::CreateVolume(create) => volume::create(self, volume, create),
            Action::DeleteVolume(delete) => volume::delete(self, &delete),
            Action::SetVolume(set) => volume::set(self, set),
            Action::OpenSession(open) => session::open(self, volume, open),
            Action::EndSession(end) => session::end(self, end),
            Action::CreateSets(sets) => replica_set::create(self, &sets),
            // The worker's: they go on when the volume is deleted.
            Action::PurgeVolume | Action::BeginDelete(_) | Action::FinishDelete(_) => {
                let row = load(self.tx, &self.keys.volume(volume))?.ok_or(Error::NotFound)?;
                ops::on_volume(&mut self.change(row, caller, None), action)
            }
            action => {
                let volume = self.live_volume(volume)?;
                let session = origin.map(|origin| origin.session);
                ops::on_volume(&mut self.change(volume, caller, session), action)
            }
        }
    }

    /// A volume that is not deleted.
    pub(super) fn live_volume(&self, volume: VolumeId) -> Result<Volume> {
        let row: Option<Volume> = load(self.tx, &self.keys.volume(volume))?;
        row.filter(|row| row.purged.is_none()).ok_or(Error::NotFound)
    }

    /// To change a volume on the rights of `caller`, as that volume sees them.
    pub(super) fn change(
        &mut self,
        volume: Volume,
        caller: Identity,
        session: Option<SessionId>,
    ) -> Change<'_, 'b> {
        Change {
            tx: &mut *self.tx,
            keys: Keys::of_volume(self.id, volume.id),
            caller: volume.identity(caller),
            volume,
            now: self.now,
            session,
            group: self.keys,
        }
    }
}
