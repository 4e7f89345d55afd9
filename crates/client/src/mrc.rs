//! Requests to the MRC in the mount's session: numbers, retries, and what a restarted MRC lost.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use xtfs_core::{
    ClientId, Error, GroupId, Ino, RequestNumber, Result, SessionId, Timestamp, VolumeId,
};
use xtfs_proto::v1::{LogStatus, RequestHeader};
use xtfs_proto::{Caller, Header, v1};
use xtfs_rpc::{Address, call};

use crate::cluster::Cluster;
use crate::lease::{Lease, Moment};
use crate::method::{self, Again, Method, Reply};
use crate::mrc_clock::MrcClock;
use crate::owed::Owed;
use crate::positions::Positions;
use crate::retry::{Remedy, Retry};

/// On whose behalf the mount makes requests of its own.
pub(crate) static ITSELF: Caller = Caller::ROOT;

/// Told which inode a restarted MRC forgot, or made anew under another number.
pub(crate) type OnLost = Box<dyn Fn(Ino) + Send + Sync>;

pub(crate) struct Mrc {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) volume: VolumeId,
    group: GroupId,
    client: ClientId,
    description: String,
    timeo: Duration,
    clock: MrcClock,
    state: Mutex<State>,
    /// Held by whoever finds out what a restarted MRC lost and sends it again.
    recovery: tokio::sync::Mutex<()>,
    on_lost: OnLost,
    pub(crate) owed: Owed,
    lease: Lease,
}

struct State {
    session: SessionId,
    renew: Duration,
    expiry: Duration,
    /// The policy of the volume when the session was opened.
    chown_non_root: bool,
    positions: Positions<Arc<dyn Kept>>,
    /// The MRC may have restarted: nothing goes there before that is known.
    suspect: bool,
    /// How often finding that out failed, and how the last time.
    failed_recoveries: u64,
    failure: Option<Error>,
    /// Which of the group's addresses is asked.
    server: usize,
    leader: Option<Address>,
}

/// An answered change that may still be lost.
trait Kept: Send + Sync {
    /// Sends it once more. Says whether the answer differs.
    fn send_again<'a>(
        &'a self,
        mrc: &'a Mrc,
        number: RequestNumber,
    ) -> Pin<Box<dyn Future<Output = Result<SentAgain>> + Send + 'a>>;
}

/// Under which number a change is sent, and in which session it has that.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    session: SessionId,
    number: RequestNumber,
    /// It was answered, and a restarted MRC has lost it.
    lost: bool,
}

/// An answer to a change.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) reply: T,
    /// It was asked for more than once: the answer may be of the first time, and others may have changed what it speaks of
    /// since.
    pub(crate) repeated: bool,
}

struct SentAgain {
    log: Option<LogStatus>,
    /// Depends on what vanished.
    vanished: Option<Ino>,
}

struct Change<M: Method> {
    caller: Caller,
    request: M::Request,
    /// What the answer named.
    ino: Option<Ino>,
    data: Option<u64>,
}

impl fmt::Debug for Mrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mrc").field("volume", &self.volume).finish_non_exhaustive()
    }
}

impl<M: Method> Kept for Change<M> {
    fn send_again<'a>(
        &'a self,
        mrc: &'a Mrc,
        number: RequestNumber,
    ) -> Pin<Box<dyn Future<Output = Result<SentAgain>> + Send + 'a>> {
        Box::pin(async move {
            if !M::SENT_AGAIN {
                return Ok(SentAgain { log: None, vanished: None });
            }
            let mut request = self.request.clone();
            M::mark(&mut request, Again::Lost);
            let of = Numbering { session: mrc.session(), number, lost: true };
            match mrc.attempt::<M>(&self.caller, request, Some(of), mrc.attempt_max()).await {
                Ok(reply) => {
                    let moved = self.data.is_some() && reply.data() != self.data;
                    let vanished = self.ino.filter(|_| moved || reply.ino() != self.ino);
                    Ok(SentAgain { log: reply.log(), vanished })
                }
                Err(err) if err.is_retryable() => Err(err),
                Err(err) => {
                    tracing::error!(
                        method = M::NAME, ino = ?self.ino, %err,
                        "the MRC lost this change, and refuses it now"
                    );
                    Ok(SentAgain { log: None, vanished: self.ino })
                }
            }
        })
    }
}

impl Mrc {
    /// Opens the session.
    pub(crate) async fn open(
        cluster: Arc<Cluster>,
        (group, volume): (GroupId, VolumeId),
        (client, description): (ClientId, String),
        timeo: Duration,
        on_lost: OnLost,
    ) -> Result<Arc<Self>> {
        let state = State {
            session: SessionId(0),
            renew: Duration::from_secs(5),
            expiry: Duration::ZERO,
            chown_non_root: false,
            positions: Positions::default(),
            suspect: false,
            failed_recoveries: 0,
            failure: None,
            server: 0,
            leader: None,
        };
        let mrc = Mrc {
            cluster,
            volume,
            group,
            client,
            description,
            timeo,
            clock: MrcClock::new(std::time::Instant::now()),
            state: Mutex::new(state),
            recovery: tokio::sync::Mutex::default(),
            on_lost,
            owed: Owed::default(),
            lease: Lease::default(),
        };
        mrc.open_session(&mut Retry::new(timeo)).await?;
        Ok(Arc::new(mrc))
    }

    pub(crate) fn session(&self) -> SessionId {
        self.state.lock().session
    }

    pub(crate) fn renew_interval(&self) -> Duration {
        self.state.lock().renew
    }

    /// The MRC's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now(std::time::Instant::now())
    }

    /// Whether every change that was answered is on the MRC's disk.
    pub(crate) fn all_durable(&self) -> bool {
        self.state.lock().positions.all_durable()
    }

    pub(crate) fn lowest_unanswered(&self) -> RequestNumber {
        self.state.lock().positions.lowest_unanswered()
    }

    /// The newest term of which all that earlier ones lost is there again.
    pub(crate) fn recovered_term(&self) -> u64 {
        self.state.lock().positions.recovered_term()
    }

    /// A renewal that was sent at `sent` was answered.
    pub(crate) fn renewed(&self, session: SessionId, sent: Moment) {
        let expiry = self.state.lock().expiry;
        self.lease.renewed(session, sent, expiry);
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeo
    }

    /// Asks something that changes nothing.
    pub(crate) async fn ask<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
    ) -> Result<M::Reply> {
        self.ask_until::<M>(caller, request, self.deadline()).await
    }

    pub(crate) async fn ask_until<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
        deadline: Instant,
    ) -> Result<M::Reply> {
        let mut retry = Retry::until(deadline);
        let mut renewed = false;
        loop {
            let session = self.session();
            let attempt = async {
                self.recover(deadline).await?;
                let left = retry.left().min(self.attempt_max());
                self.attempt::<M>(caller, request.clone(), None, left).await
            };
            match attempt.await {
                Ok(reply) => return Ok(reply),
                Err(Error::SessionLost) if !renewed => {
                    renewed = true;
                    self.renew_session(session, &mut retry).await?;
                }
                Err(err) => self.remedy(&mut retry, err).await?,
            }
        }
    }

    /// Asks for a change; it is carried out once, however often it is sent.
    pub(crate) async fn change<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
    ) -> Result<M::Reply> {
        self.change_until::<M>(caller, request, self.deadline()).await
    }

    pub(crate) async fn change_until<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
        deadline: Instant,
    ) -> Result<M::Reply> {
        let answered = self.change_under::<M>(None, caller, request, deadline).await;
        answered.map(|answered| answered.reply)
    }

    /// The same, and says whether the answer may be one that was given before.
    pub(crate) async fn change_once<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
        deadline: Instant,
    ) -> Result<Answered<M::Reply>> {
        self.change_under::<M>(None, caller, request, deadline).await
    }

    /// A change of what `session` holds: without it, it is `SessionLost`.
    pub(crate) async fn change_in<M: Method>(
        &self,
        session: SessionId,
        request: M::Request,
        deadline: Instant,
    ) -> Result<M::Reply> {
        let answered = self.change_in_once::<M>(session, request, deadline).await;
        answered.map(|answered| answered.reply)
    }

    pub(crate) async fn change_in_once<M: Method>(
        &self,
        session: SessionId,
        request: M::Request,
        deadline: Instant,
    ) -> Result<Answered<M::Reply>> {
        self.change_under::<M>(Some(session), &ITSELF, request, deadline).await
    }

    async fn change_under<M: Method>(
        &self,
        only: Option<SessionId>,
        caller: &Caller,
        mut request: M::Request,
        deadline: Instant,
    ) -> Result<Answered<M::Reply>> {
        let mut retry = Retry::until(deadline);
        if self.state.lock().positions.is_full() {
            // P2: no more is kept than the bound.
            let sync = v1::SyncMetadataRequest { volume: self.volume.0, ..Default::default() };
            self.ask_until::<method::SyncMetadata>(&ITSELF, sync, deadline).await?;
        }
        let mut numbered = Numbered::begin(self);
        let mut undecided = false;
        loop {
            if only.is_some_and(|session| session != numbered.session) {
                return Err(Error::SessionLost);
            }
            let attempt = async {
                self.recover(deadline).await?;
                let left = retry.left().min(self.attempt_max());
                let (session, number) = (numbered.session, numbered.number);
                let of = Numbering { session, number, lost: false };
                self.attempt::<M>(caller, request.clone(), Some(of), left).await
            };
            match attempt.await {
                Ok(reply) => {
                    let (ino, data) = (reply.ino(), reply.data());
                    let change = Change::<M> { caller: caller.clone(), request, ino, data };
                    numbered.answered(reply.log(), Arc::new(change));
                    return Ok(Answered { reply, repeated: undecided });
                }
                // Refused at first sight, so it was not carried out. Otherwise nobody knows.
                Err(Error::SessionLost) if !undecided => {
                    self.renew_session(numbered.session, &mut retry).await?;
                    numbered = Numbered::begin(self);
                    undecided = true;
                }
                Err(err) => {
                    undecided = true;
                    M::mark(&mut request, Again::Repeated);
                    self.remedy(&mut retry, err).await?;
                }
            }
        }
    }

    /// Tells the MRC that the session ends.
    pub(crate) async fn close_session(&self, deadline: Instant) -> Result<()> {
        let request = v1::CloseSessionRequest::default();
        match self.ask_until::<method::CloseSession>(&ITSELF, request, deadline).await {
            Ok(_) | Err(Error::SessionLost) => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Takes in a reply's positions and time.
    pub(crate) fn observe(&self, log: Option<&LogStatus>, round_trip: Duration) {
        let Some(log) = log else { return };
        self.clock.observe(Timestamp(log.now_ns), std::time::Instant::now(), round_trip);
        let mut state = self.state.lock();
        state.positions.observe(log);
        if state.positions.has_lost() {
            state.suspect = true;
        }
    }

    /// Of the MRC's log; each start has a new one.
    pub(crate) fn term(&self) -> u64 {
        self.state.lock().positions.term()
    }

    /// The MRC may have restarted.
    pub(crate) fn suspect(&self) {
        self.state.lock().suspect = true;
    }

    pub(crate) fn service_for_stream(&self) -> Result<(xtfs_rpc::MrcService, RequestHeader)> {
        let address = self.address()?;
        let mut header = self.header(&ITSELF, None, Duration::ZERO)?;
        header.deadline = None;
        Ok((self.cluster.connector().mrc(&address), header.into()))
    }

    /// After a failure nothing goes to the MRC before it is known whether it restarted, and what
    /// it lost then was sent again in order.
    pub(crate) async fn recover(&self, deadline: Instant) -> Result<()> {
        let failed_before = {
            let state = self.state.lock();
            if !state.suspect {
                return Ok(());
            }
            state.failed_recoveries
        };
        let turn = tokio::time::timeout_at(deadline, self.recovery.lock()).await;
        let _recovery = turn.map_err(|_| Error::Deadline("the MRC is being looked for".into()))?;
        {
            let state = self.state.lock();
            if !state.suspect {
                return Ok(());
            }
            // Whoever was before us has just failed: all who waited share the answer.
            if let (true, Some(err)) = (state.failed_recoveries > failed_before, &state.failure) {
                return Err(err.clone());
            }
        }
        let recovered = self.send_lost_again().await;
        let mut state = self.state.lock();
        match &recovered {
            Ok(()) => state.suspect = false,
            Err(err) => {
                state.failed_recoveries += 1;
                state.failure = Some(err.clone());
            }
        }
        recovered
    }

    async fn send_lost_again(&self) -> Result<()> {
        let (volume, ino) = (self.volume.0, Ino::ROOT.0);
        let probe = v1::GetAttrRequest { volume, ino, ..Default::default() };
        let probe = self.attempt::<method::GetAttr>(&ITSELF, probe, None, self.attempt_max());
        probe.await?;
        loop {
            let lost = self.state.lock().positions.lost();
            let Some((number, kept)) = lost.into_iter().next() else { break };
            tracing::warn!(%number, "the MRC has restarted and lost a change; sending it again");
            let again = kept.send_again(self, number).await?;
            let mut state = self.state.lock();
            match again.log {
                Some(log) => state.positions.answered(number, &log, kept),
                None => state.positions.forget(number),
            }
            drop(state);
            if let Some(ino) = again.vanished {
                tracing::error!(%ino, "the MRC lost this inode in a restart");
                (self.on_lost)(ino);
            }
        }
        Ok(())
    }

    /// Waits as the error asks for, or returns it.
    async fn remedy(&self, retry: &mut Retry, err: Error) -> Result<()> {
        if let Error::NotLeader { leader } = &err {
            self.state.lock().leader = leader.as_ref().and_then(|text| text.parse().ok());
        }
        match retry.after(err, || self.whom()).await? {
            Remedy::Wait | Remedy::Renew | Remedy::Reconnect | Remedy::Elsewhere => Ok(()),
        }
    }

    /// The session of `old` is gone: opens another, unless somebody has.
    pub(crate) async fn renew_session(&self, old: SessionId, retry: &mut Retry) -> Result<()> {
        let _recovery = self.recovery.lock().await;
        if self.session() != old {
            return Ok(());
        }
        let dropped = self.state.lock().positions.reset();
        tracing::error!(
            session = %old, undurable = dropped,
            "the MRC has ended our session: open files and unconfirmed changes of it are lost"
        );
        self.open_session(retry).await
    }

    /// The volume's policy when the session was opened: owners may give files away.
    pub(crate) fn chown_non_root(&self) -> bool {
        self.state.lock().chown_non_root
    }

    async fn open_session(&self, retry: &mut Retry) -> Result<()> {
        let request = v1::OpenSessionRequest {
            header: None,
            volume: self.volume.0,
            client: self.client.to_wire().into(),
            description: self.description.clone(),
        };
        // The header must not name the lost session.
        self.state.lock().session = SessionId(0);
        loop {
            let left = retry.left().min(self.attempt_max());
            let sent = Moment::now();
            let opened = self.attempt::<method::OpenSession>(&ITSELF, request.clone(), None, left);
            match opened.await {
                Ok(reply) => {
                    let mut state = self.state.lock();
                    state.session = SessionId(reply.session);
                    state.expiry = Duration::from_millis(reply.expiry_ms.into());
                    self.lease.renewed(state.session, sent, state.expiry);
                    state.renew = Duration::from_millis(reply.renew_ms.max(100).into());
                    state.chown_non_root = reply.chown_non_root;
                    state.suspect = false;
                    return Ok(());
                }
                Err(err) => self.remedy(retry, err).await?,
            }
        }
    }

    async fn attempt<M: Method>(
        &self,
        caller: &Caller,
        request: M::Request,
        of: Option<Numbering>,
        left: Duration,
    ) -> Result<M::Reply> {
        let address = self.address()?;
        let header = self.header(caller, of, left)?;
        let service = self.cluster.connector().mrc(&address);
        let sent = Instant::now();
        match call(left, M::send(service, request, header.into())).await {
            Ok(reply) => {
                // An answered change is taken in with its number, by the caller.
                if of.is_none() {
                    self.observe(reply.log().as_ref(), sent.elapsed());
                }
                Ok(reply)
            }
            Err(err) => {
                if err.is_retryable() && err != Error::SessionLost {
                    let mut state = self.state.lock();
                    state.suspect = state.session.0 != 0;
                    state.server = state.server.wrapping_add(1);
                    state.leader = None;
                }
                Err(err)
            }
        }
    }

    /// `of`: the number of a change, and the session in which it has that.
    fn header(&self, caller: &Caller, of: Option<Numbering>, deadline: Duration) -> Result<Header> {
        let state = self.state.lock();
        if of.is_some_and(|of| of.session != state.session) {
            return Err(Error::SessionLost);
        }
        Ok(Header {
            cluster: Some(self.cluster.id()),
            group: self.group,
            session: state.session,
            number: of.map_or(RequestNumber(0), |of| of.number),
            lowest_unanswered: state.positions.lowest_unanswered(),
            caller: caller.clone(),
            deadline: Some(deadline),
            lost: of.is_some_and(|of| of.lost),
        })
    }

    fn address(&self) -> Result<Address> {
        let state = self.state.lock();
        if let Some(leader) = &state.leader {
            return Ok(leader.clone());
        }
        let addresses = self.cluster.mrc_addresses(self.group);
        let at = state.server.checked_rem(addresses.len());
        at.map(|at| addresses[at].clone())
            .ok_or_else(|| Error::Unavailable("the DIR knows no MRC of the volume".into()))
    }

    /// Two attempts fit into an operation.
    fn attempt_max(&self) -> Duration {
        (self.timeo / 2).max(Duration::from_millis(100))
    }

    fn whom(&self) -> String {
        match self.address() {
            Ok(address) => format!("MRC at {address}"),
            Err(_) => format!("MRC of group {}", self.group),
        }
    }
}

/// A change on its way. Dropped without an answer it is given up, and not sent again.
struct Numbered<'a> {
    mrc: &'a Mrc,
    number: RequestNumber,
    session: SessionId,
    begun: Instant,
}

impl<'a> Numbered<'a> {
    fn begin(mrc: &'a Mrc) -> Self {
        let mut state = mrc.state.lock();
        let (number, session) = (state.positions.begin(), state.session);
        drop(state);
        Numbered { mrc, number, session, begun: Instant::now() }
    }

    fn answered(self, log: Option<LogStatus>, change: Arc<dyn Kept>) {
        if let Some(log) = log {
            let mut state = self.mrc.state.lock();
            if state.session == self.session {
                state.positions.answered(self.number, &log, change);
            }
            drop(state);
            self.mrc.observe(Some(&log), self.begun.elapsed());
        }
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut state = self.mrc.state.lock();
        if state.session == self.session {
            state.positions.give_up(self.number);
        }
    }
}
