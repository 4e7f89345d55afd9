//! A member of a group: takes commands, answers when they are applied.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, InitializeError, RaftError};
use openraft::{BasicNode, RaftMetrics, RaftNetworkFactory, ServerState, SnapshotPolicy};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use xtfs_core::{Error, Result};
use xtfs_kv::{KeyRange, Kv, Pair, Prefixed, Read, RocksOptions};

use crate::commit::{self, COMMAND_BYTES_MAX, COMMANDS_QUEUED_MAX, Proposal};
use crate::directory;
use crate::log::{Log, Shared};
use crate::machine::{Coded, Machine, StateMachine, from_bytes, to_bytes};
use crate::network::NoNetwork;
use crate::space::Space;
use crate::store::{STATE, Store};
use crate::types::{Raft, Types};

/// How long a lone member may take to lead; it needs milliseconds.
const LEAD_MAX: Duration = Duration::from_secs(30);
/// Entries between two looks at what can be purged.
const PURGE_ENTRIES: u64 = 5_000;
/// How long a snapshot may be on its way to a member.
const SNAPSHOT_SEND_MAX: Duration = Duration::from_secs(3600);

/// What the answer to a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The command survives the death of the process, and a power cut after `commit_interval`.
    Lazy,
    /// The command survives a power cut.
    Durable,
}

/// How a new store begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// As a group of its own.
    Found,
    /// Waiting to be added to a group.
    Join,
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Longest time that an answered command is not on disk.
    pub commit_interval: Duration,
    /// Below this only commands that free space are taken; as much again is reserved for them. At
    /// most a sixteenth of the disk.
    pub min_free_bytes: u64,
    /// Entries kept for members that lag; one that lags more gets a snapshot.
    pub entries_kept: u64,
    /// Time between two signs of life of a leader.
    pub heartbeat: Duration,
    /// A silence of this to twice this makes members elect another leader.
    pub election: Duration,
    pub birth: Birth,
    /// Where other members find this one.
    pub address: String,
    pub rocks: RocksOptions,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            commit_interval: Duration::from_secs(1),
            min_free_bytes: 128 << 20,
            entries_kept: 10_000,
            heartbeat: Duration::from_millis(500),
            election: Duration::from_secs(2),
            birth: Birth::Found,
            address: String::new(),
            rocks: RocksOptions::default(),
        }
    }
}

/// A reply with the index that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<R> {
    pub reply: R,
    pub index: u64,
}

/// How far the log is. What was seen under an older term at or above `term_start` is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    pub term: u64,
    /// Index of the first entry of that term.
    pub term_start: u64,
    /// Index of the last entry that was applied.
    pub index: u64,
    /// Index up to which what was applied survives a power cut.
    pub durable: u64,
}

/// Dropped, it stops like a process that is killed: nothing is synced. Its thread has ended then: a
/// process that exits takes down what that thread needs to close the store.
pub struct Replog<S: StateMachine> {
    machine: Arc<S>,
    shared: Arc<Shared>,
    raft: Raft,
    metrics: watch::Receiver<RaftMetrics<u64, BasicNode>>,
    proposals: mpsc::Sender<Proposal>,
    confirmations: Confirmations,
    stop: CancellationToken,
    stopped: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Confirmations of the leader by a quorum: one serves all who asked before it began.
#[derive(Debug, Default)]
struct Confirmations {
    asked: AtomicU64,
    served: Mutex<u64>,
}

/// What the thread of a member hands to who opened it.
struct Started {
    shared: Arc<Shared>,
    raft: Raft,
}

impl<S: StateMachine> fmt::Debug for Replog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replog({:x}, {:?})", self.shared.member, self.status())
    }
}

impl<S: StateMachine> Replog<S> {
    /// Opens the only member of a group, whose files are in `dir`. It is made if its parent exists.
    pub async fn open(dir: &Path, config: Config, machine: S) -> Result<Arc<Self>> {
        Self::open_member(dir, config, machine, NoNetwork).await
    }

    /// Opens a member that reaches the others over `network`.
    pub async fn open_member<N>(
        dir: &Path,
        config: Config,
        machine: S,
        network: N,
    ) -> Result<Arc<Self>>
    where
        N: RaftNetworkFactory<Types>,
    {
        let (dir, mut rocks, min_free) = (dir.to_owned(), config.rocks, config.min_free_bytes);
        let open = move || {
            directory::create(&dir)?;
            // First: opening writes, and may need what is reserved.
            let space = Space::open(Some(&dir), min_free)?;
            rocks.write_buffer_bytes = rocks.write_buffer_bytes.min(space.write_buffer_max());
            Ok((Store::open(&dir, rocks)?, space))
        };
        Self::start(open, config, machine, network).await
    }

    /// Opens the only member of a group on a store of the caller's, without snapshots.
    pub async fn open_with(kv: Arc<dyn Kv>, config: Config, machine: S) -> Result<Arc<Self>> {
        let open = || Ok((Store::in_memory(kv), Space::open(None, 0)?));
        Self::start(open, config, machine, NoNetwork).await
    }

    async fn start<N>(
        open: impl FnOnce() -> Result<(Store, Space)> + Send + 'static,
        config: Config,
        machine: S,
        network: N,
    ) -> Result<Arc<Self>>
    where
        N: RaftNetworkFactory<Types>,
    {
        let machine = Arc::new(machine);
        let applying = Arc::clone(&machine);
        let (proposals, queue) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (started, starting) = oneshot::channel();
        let (ended, stopped) = watch::channel(false);
        let stop = CancellationToken::new();
        let token = stop.clone();
        // A thread of its own: appending and applying block, and between the tasks of a member
        // there is no other thread to wake.
        let run = move || {
            let member = Member { config, machine: Arc::new(Coded(applying)), network };
            if let Err(err) = member.run(open, queue, started, stop) {
                tracing::error!(%err, "the log cannot run");
            }
            ended.send_replace(true);
        };
        let spawned = std::thread::Builder::new().name("replog".to_owned()).spawn(run);
        let cannot = |err| Error::Internal(format!("cannot start a thread: {err}"));
        let thread = Some(spawned.map_err(cannot)?);
        let gone = || Error::Internal("the thread of the log has panicked".to_owned());
        let Started { shared, raft } = starting.await.map_err(|_| gone())??;
        Ok(Arc::new(Replog {
            machine,
            shared,
            metrics: raft.metrics(),
            raft,
            proposals,
            confirmations: Confirmations::default(),
            stop: token,
            stopped,
            thread,
        }))
    }

    /// Answers when `command` is applied, and survives what `durability` says. An error other than
    /// `NoSpace`, `Invalid` and `NotLeader` leaves open whether it will be applied.
    pub async fn propose(
        &self,
        command: S::Command,
        durability: Durability,
    ) -> Result<Receipt<S::Reply>> {
        self.shared.progress.check()?;
        let encoded = to_bytes(&command);
        if encoded.len() > COMMAND_BYTES_MAX {
            return Err(Error::Invalid(format!("a command of {} bytes", encoded.len())));
        }
        let (answer, answered) = oneshot::channel();
        let frees_space = self.machine.frees_space(&command);
        let proposal = Proposal { command: encoded, frees_space, answer };
        self.proposals.send(proposal).await.map_err(|_| self.stopping())?;
        let answer = answered.await.map_err(|_| self.stopping())??;
        if durability == Durability::Durable {
            self.shared.progress.wait_durable(answer.index).await?;
        }
        Ok(Receipt { reply: from_bytes(&answer.reply)?, index: answer.index })
    }

    /// Returns when a read sees everything that was answered, by any member, before this call.
    pub async fn barrier(&self) -> Result<()> {
        let alone = self.shared.is_alone();
        match self.shared.progress.check() {
            Ok(()) if alone && self.metrics.borrow().state == ServerState::Leader => return Ok(()),
            Ok(()) => {}
            // What was answered is there, and nobody else can have answered more.
            Err(Error::NoSpace(_)) if alone => return Ok(()),
            Err(fault) => return Err(fault),
        }
        let ticket = self.confirmations.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut served = self.confirmations.served.lock().await;
        if *served >= ticket {
            return Ok(());
        }
        let asked = self.confirmations.asked.load(Ordering::Acquire);
        match self.raft.ensure_linearizable().await {
            Ok(_) => {
                *served = asked;
                Ok(())
            }
            Err(RaftError::Fatal(fatal)) => Err(commit::stopped(&self.shared, &fatal)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(Error::NotLeader { leader: to.leader_node.map(|node| node.addr) })
            }
            Err(RaftError::APIError(err @ CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(Error::Unavailable(err.to_string()))
            }
        }
    }

    /// The applied state. Each call reads one instant; for several of the same, see `view`.
    pub fn state(&self) -> Arc<dyn Read> {
        Arc::new(State(Arc::clone(&self.shared)))
    }

    /// Runs `act` on one instant of the applied state.
    pub fn view<T>(&self, act: impl FnOnce(&dyn Read) -> T) -> T {
        self.shared.store.view(act)
    }

    pub fn status(&self) -> LogStatus {
        let progress = &self.shared.progress;
        // Before the others, so that it is not ahead of them.
        let durable = progress.durable();
        let index = progress.applied();
        let (term, term_start) = progress.term();
        LogStatus { term, term_start, index, durable: durable.min(index) }
    }

    /// Why nothing is written any more.
    pub fn fault(&self) -> Option<Error> {
        self.shared.progress.check().err()
    }

    /// Everything applied before this call is on disk on return, up to the index that it answers.
    pub async fn sync(&self) -> Result<u64> {
        let applied = self.shared.progress.applied();
        self.shared.progress.wait_durable(applied).await?;
        Ok(applied)
    }

    /// Syncs and stops. Later proposals are `Unavailable`.
    pub async fn shutdown(&self) -> Result<()> {
        let synced = self.sync().await.map(drop);
        self.stop.cancel();
        // Closed: the thread has ended, too.
        drop(self.stopped.clone().wait_for(|stopped| *stopped).await);
        synced
    }

    /// For what members say to each other, and for changes of the membership.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Id of this member; another one after its disk was wiped.
    pub fn member(&self) -> u64 {
        self.shared.member
    }

    fn stopping(&self) -> Error {
        let stopping = || Error::Unavailable("the log is being stopped".to_owned());
        self.fault().unwrap_or_else(stopping)
    }
}

impl<S: StateMachine> Drop for Replog<S> {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread of the log has panicked");
        }
    }
}

/// Reads the state in whatever store is in use.
#[derive(Debug)]
struct State(Arc<Shared>);

impl Read for State {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Prefixed::new(&*self.0.store.kv(), STATE).get(key)
    }

    fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Pair>> {
        Prefixed::new(&*self.0.store.kv(), STATE).scan(range, limit)
    }
}

/// What runs on the thread of a member.
struct Member<S: StateMachine, N> {
    config: Config,
    machine: Arc<Coded<S>>,
    network: N,
}

impl<S: StateMachine, N: RaftNetworkFactory<Types>> Member<S, N> {
    fn run(
        self,
        open: impl FnOnce() -> Result<(Store, Space)>,
        queue: mpsc::Receiver<Proposal>,
        started: oneshot::Sender<Result<Started>>,
        stop: CancellationToken,
    ) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|err| Error::Internal(format!("no runtime: {err}")))?;
        runtime.block_on(async {
            let interval = self.config.commit_interval;
            let (space, shared, raft) = match self.lead(open).await {
                Ok(running) => running,
                Err(err) => {
                    drop(started.send(Err(err)));
                    return;
                }
            };
            drop(started.send(Ok(Started { shared: Arc::clone(&shared), raft: raft.clone() })));
            let syncing = commit::sync(Arc::clone(&shared), interval, stop.clone());
            let committing = commit::commit(shared, raft.clone(), space, queue, stop);
            tokio::join!(syncing, committing);
            if let Err(err) = raft.shutdown().await {
                tracing::warn!(%err, "the log did not stop in order");
            }
        });
        Ok(())
    }

    /// Starts openraft; a lone member leads and has applied its whole log on return.
    async fn lead(
        self,
        open: impl FnOnce() -> Result<(Store, Space)>,
    ) -> Result<(Space, Arc<Shared>, Raft)> {
        let (store, space) = open()?;
        let shared = Shared::open(store)?;
        let log = Log::new(Arc::clone(&shared))?;
        let machine = Machine::new(Arc::clone(&shared), self.machine);
        let member = shared.member;
        let raft_config = Arc::new(raft_config(&self.config)?);
        let raft = Raft::new(member, raft_config, self.network, log, machine).await;
        let raft = raft.map_err(|fatal| commit::stopped(&shared, &fatal))?;
        let stopped = |fatal| commit::stopped(&shared, &fatal);
        if raft.is_initialized().await.map_err(stopped)? {
            if !shared.is_alone() {
                return Ok((space, shared, raft));
            }
            // Nobody else can lead: there is nothing to wait for.
            raft.trigger().elect().await.map_err(stopped)?;
        } else if self.config.birth == Birth::Join {
            return Ok((space, shared, raft));
        } else {
            let members = BTreeMap::from([(member, BasicNode::new(self.config.address))]);
            match raft.initialize(members).await {
                Ok(()) => {}
                Err(RaftError::Fatal(fatal)) => return Err(stopped(fatal)),
                Err(RaftError::APIError(InitializeError::NotAllowed(err))) => {
                    return Err(Error::Corrupt(format!("a log without members: {err}")));
                }
                Err(RaftError::APIError(err @ InitializeError::NotInMembers(_))) => {
                    return Err(Error::Internal(err.to_string()));
                }
            }
        }
        let leads = |metrics: &RaftMetrics<u64, BasicNode>| {
            let applied = metrics.last_applied.map(|id| id.leader_id.term);
            metrics.state == ServerState::Leader && applied == Some(metrics.current_term)
        };
        let led = raft.wait(Some(LEAD_MAX)).metrics(leads, "a lone member leads").await;
        led.map_err(|err| {
            let waited = || Error::Unavailable(format!("the log does not start: {err}"));
            shared.progress.check().err().unwrap_or_else(waited)
        })?;
        Ok((space, shared, raft))
    }
}

fn raft_config(config: &Config) -> Result<openraft::Config> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4);
    let raft = openraft::Config {
        cluster_name: "xtfs".to_owned(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election),
        election_timeout_max: millis(config.election) * 2,
        install_snapshot_timeout: millis(SNAPSHOT_SEND_MAX),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.entries_kept.clamp(1, PURGE_ENTRIES)),
        max_in_snapshot_log_to_keep: config.entries_kept,
        // Less than what is kept, or a snapshot might be sent where entries would do.
        replication_lag_threshold: config.entries_kept.max(1),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|err| Error::Invalid(format!("the settings of the log: {err}")))
}
