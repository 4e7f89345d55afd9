//! Starts and stops the service around a server that the caller runs.

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use xtfs_core::{Clock, Error, GroupId, Result, ServiceId, VolumeId};
use xtfs_proto::v1;
use xtfs_proto::v1::mrc_server::MrcServer;
use xtfs_replog::{Durability, Replog};
use xtfs_rpc::registration::{self, Load, Registrant, Registration};
use xtfs_rpc::{
    Connector, DataDir, Directory, DirectoryWatch, Failure, MESSAGE_BYTES_MAX, Role, Server, Table,
    write_atomically,
};

use crate::appenders::Appenders;
use crate::config::Config;
use crate::expiry::Clocks;
use crate::leases::Leases;
use crate::mrc::{Asker, Mrc, Names, Wake};
use crate::osds::Osds;
use crate::service::Service;
use crate::sets::Sets;
use crate::state::command::Reserve;
use crate::state::numbers::RESERVE_COUNT;
use crate::state::{Action, Answer, Command, MrcState, Numbers, View};
use crate::time::ServiceTime;
use crate::waiters::Waiters;
use crate::workers;

pub const PROGRAM: &str = "xtfs-mrc";
/// Name of the service, for [`Server::new`].
pub const SERVICE: &str = "xtfs.v1.Mrc";

/// File in the data directory that says which group it is a member of.
const GROUP_FILE: &str = "group";
const LIST_FILE: &str = "services";
const LOG_FOLDER: &str = "db";
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// How long requests and workers that are at work may take at the end.
const STOP_MAX: Duration = Duration::from_secs(5);

/// An MRC that serves. Dropping it is a crash; [`Running::stop`] is the end in good order.
#[derive(Debug)]
pub struct Running {
    mrc: Arc<Mrc>,
    registration: Registration,
    _watch: DirectoryWatch,
    _data: DataDir,
    /// Ends workers when this is dropped.
    _stop: DropGuard,
}

/// Registers with the DIR, opens the log, and adds the service to `server`, which listens on
/// `listen_port`. Until it returns, requests are told to come again if `server` was made with [`SERVICE`].
pub async fn start(
    config: Config,
    clock: Arc<dyn Clock>,
    server: &Server,
    listen_port: u16,
    stop: &CancellationToken,
) -> Result<Running, Failure> {
    config.validate()?;
    let (path, members) = match (&config.data, &config.dir) {
        (Some(path), Some(members)) => (path, members),
        _ => return Err(Failure::new("--data or --dir is missing", "give both")),
    };
    let data = DataDir::open(path, Role::Mrc, None)?;
    let directory = Directory::new(Connector::new(), members);
    let health = Arc::new(Reported::new(data.service_id(), read_group(data.path())?));
    let who = Registrant {
        cluster: data.cluster(),
        node: registration::node_name(),
        advertise: config.advertise.clone(),
        listen_port,
        clock: clock.clone(),
        load: {
            let health = health.clone();
            Arc::new(move || health.load())
        },
    };
    let registration = registration::register(directory.clone(), who, stop).await?;
    data.adopt(registration.cluster)?;
    let group = registration.group;
    if group == GroupId(0) {
        return Err(Failure::new(
            "the DIR assigned no group",
            "install the same xtfs version there",
        ));
    }
    write_group(data.path(), group)?;
    let cache = Some(data.path().join(LIST_FILE));
    let watch =
        DirectoryWatch::start(directory.clone(), registration.cluster, cache, LIST_DEADLINE)
            .await?;
    let log = open_log(&config, data.path(), group).await?;
    let mrc = assemble(config, clock, &data, directory, &registration, &watch, log).await?;
    health.serve(&mrc);
    workers::start(&mrc);
    let service =
        MrcServer::new(Service::new(mrc.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    server.add(service).await;
    let shown = Arc::downgrade(&mrc);
    server.section("MRC", move || table(&shown));
    tracing::info!(%group, addresses = ?registration.addresses, "the MRC serves");
    let guard = mrc.stop.clone().drop_guard();
    Ok(Running { mrc, registration, _watch: watch, _data: data, _stop: guard })
}

impl Running {
    pub fn group(&self) -> GroupId {
        self.mrc.group
    }

    pub fn mrc(&self) -> &Arc<Mrc> {
        &self.mrc
    }

    /// Waits until it cannot go on: the DIR refuses it, or its log has stopped.
    pub async fn failed(&self) -> Failure {
        let log_failed = async {
            loop {
                match self.mrc.log.fault() {
                    Some(fault) => break Failure::new(fault.to_string(), "see the disk of --data"),
                    None => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
        };
        tokio::select! {
            refused = self.registration.refused() => refused,
            failed = log_failed => failed,
        }
    }

    /// Ends workers and streams, tells the DIR, syncs the log.
    pub async fn stop(self) -> Result<()> {
        self.mrc.stop.cancel();
        self.mrc.tasks.close();
        if tokio::time::timeout(STOP_MAX, self.mrc.tasks.wait()).await.is_err() {
            tracing::info!("workers did not end in time");
        }
        self.registration.leave().await;
        self.mrc.log.shutdown().await
    }
}

async fn open_log(
    config: &Config,
    data: &Path,
    group: GroupId,
) -> Result<Arc<Replog<MrcState>>, Failure> {
    let log_config = xtfs_replog::Config {
        commit_interval: Duration::from_millis(config.commit_interval_ms),
        min_free_bytes: config.min_free_bytes,
        ..xtfs_replog::Config::default()
    };
    let path = data.join(LOG_FOLDER);
    let opened = Replog::open(&path, log_config, MrcState::new(group)).await;
    opened
        .map_err(|err| Failure::new(format!("cannot open {}: {err}", path.display()), remedy(&err)))
}

fn remedy(err: &Error) -> &'static str {
    match err {
        Error::Corrupt(_) => "restore the data directory from a backup",
        Error::NoSpace(_) => "free space on that file system",
        _ => "check the disk and the permissions of the data directory",
    }
}

/// What a start reads from the state: sessions to wait for, time, and a first range of numbers.
async fn assemble(
    config: Config,
    clock: Arc<dyn Clock>,
    data: &DataDir,
    directory: Directory,
    registration: &Registration,
    watch: &DirectoryWatch,
    log: Arc<Replog<MrcState>>,
) -> Result<Arc<Mrc>, Failure> {
    let group = registration.group;
    let (now, sessions) = log.view(|read| {
        let view = View::new(read, group);
        Ok::<_, Error>((view.now()?, view.sessions()?))
    })?;
    let time = ServiceTime::new(clock, now);
    let numbers = first_numbers(&log, &time).await?;
    let expiry = Duration::from_secs(config.session_expiry_s);
    let sessions = sessions.into_iter().map(|session| session.session);
    let osds =
        Osds::new(directory.connector().clone(), watch.subscribe(), registration.cluster, group);
    Ok(Arc::new(Mrc {
        cluster: registration.cluster,
        group,
        log,
        osds,
        sets: Sets::default(),
        clocks: Clocks::new(expiry, Instant::now(), sessions),
        directory,
        wake: Wake::default(),
        appenders: Appenders::default(),
        waiters: Waiters::default(),
        leases: Leases::default(),
        names: Names::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        data: data.path().to_owned(),
        min_free_bytes: config.min_free_bytes,
        time,
        keys: registration.keys(),
        numbers: Mutex::new(numbers),
        reserving: tokio::sync::Mutex::new(()),
        slots: Arc::new(Semaphore::new(config.requests_in_flight_max)),
        slots_max: config.requests_in_flight_max,
    }))
}

/// Gives up what the predecessor reserved, and reserves anew (P5).
async fn first_numbers(
    log: &Arc<Replog<MrcState>>,
    time: &ServiceTime,
) -> Result<Numbers, Failure> {
    let Asker { caller, origin } = Asker::SERVICE;
    let action = Action::Reserve(Reserve { count: RESERVE_COUNT, restart: true });
    let command = Command { now: time.now(), caller, origin, volume: VolumeId(0), action };
    match log.propose(command, Durability::Durable).await?.reply? {
        Answer::Reserved(range) => Ok(Numbers::new(range)),
        other => Err(Error::Internal(format!("a reservation answered {other:?}")).into()),
    }
}

/// What heartbeats say of this server; before it serves, too.
#[derive(Debug)]
struct Reported {
    id: ServiceId,
    group: GroupId,
    mrc: OnceLock<Weak<Mrc>>,
}

impl Reported {
    fn new(id: ServiceId, group: GroupId) -> Self {
        Reported { id, group, mrc: OnceLock::new() }
    }

    fn serve(&self, mrc: &Arc<Mrc>) {
        // Only the first counts, and there is one.
        self.mrc.set(Arc::downgrade(mrc)).unwrap_or_default();
    }

    fn load(&self) -> Load {
        let mrc = self.mrc.get().and_then(Weak::upgrade);
        let server = v1::MrcServer {
            id: self.id.0.as_bytes().to_vec().into(),
            group: mrc.as_ref().map_or(self.group, |mrc| mrc.group).0,
            leader: mrc.is_some(),
            fault: mrc.and_then(|mrc| mrc.fault()).unwrap_or_default(),
        };
        Load { targets: Vec::new(), mrc: Some(server) }
    }
}

/// Zero before the first registration.
fn read_group(data: &Path) -> Result<GroupId, Failure> {
    let path = data.join(GROUP_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(GroupId).map_err(|_| {
            Failure::new(
                format!("{} is damaged", path.display()),
                "write the number of this MRC's group into it, see xtfs mrc ls",
            )
        }),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(GroupId(0)),
        Err(err) => Err(Failure::new(
            format!("cannot read {}: {err}", path.display()),
            "check the permissions of the data directory",
        )),
    }
}

fn write_group(data: &Path, group: GroupId) -> Result<(), Failure> {
    let path = data.join(GROUP_FILE);
    write_atomically(&path, format!("{group}\n").as_bytes()).map_err(|err| {
        Failure::new(format!("cannot write {}: {err}", path.display()), "check the disk")
    })
}

/// Of the status page.
fn table(mrc: &Weak<Mrc>) -> Table {
    let columns = vec!["what", "value"];
    let Some(mrc) = mrc.upgrade() else {
        return Table { columns, rows: Vec::new() };
    };
    let status = mrc.log.status();
    let counts = mrc.counts().unwrap_or_default();
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let rows = vec![
        row("group", mrc.group.to_string()),
        row("health", mrc.fault().unwrap_or_else(|| "serves".to_owned())),
        row(
            "log",
            format!("term {}, index {}, durable {}", status.term, status.index, status.durable),
        ),
        row("sessions", counts.sessions.to_string()),
        row("leases", mrc.leases.count().to_string()),
        row("open files", counts.open_files.to_string()),
        row("deletions that wait", counts.deletions.to_string()),
        row("settlements that wait", counts.settlements.to_string()),
        row("free bytes", mrc.free_bytes().to_string()),
        row("requests at work", mrc.requests_at_work().to_string()),
    ];
    Table { columns, rows }
}
