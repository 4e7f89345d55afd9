//! How an MRC or OSD daemon makes itself known to the DIR, and stays so.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use xtfs_core::capability::Key;
use xtfs_core::{Clock, ClusterId, Error, GroupId, InstanceId, Result};
use xtfs_proto::{Header, v1};

use crate::address::Address;
use crate::directory::Directory;
use crate::failure::Failure;

/// A daemon that was never registered gives up looking for its DIR after this.
const FIRST_CONTACT_MAX: Duration = Duration::from_secs(10);
/// The DIR may still believe in a predecessor with the same id for a few heartbeats.
const REFUSED_MAX: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// What a daemon says of itself with every heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    pub targets: Vec<v1::Target>,
    pub mrc: Option<v1::MrcServer>,
}

/// Who registers.
#[derive(Clone)]
pub struct Registrant {
    /// The cluster that its data belongs to. `None`: it has never been registered.
    pub cluster: Option<ClusterId>,
    /// Host name, for people and for spreading.
    pub node: String,
    /// Where others reach it. Empty: the local address of the connection that reaches the DIR.
    pub advertise: Vec<Address>,
    pub listen_port: u16,
    pub clock: Arc<dyn Clock>,
    /// Asked before each heartbeat; must not block.
    pub load: Arc<dyn Fn() -> Load + Send + Sync>,
}

/// A registered daemon. Dropping it ends the heartbeats.
#[derive(Debug)]
pub struct Registration {
    pub cluster: ClusterId,
    /// As assigned to an MRC; zero for others.
    pub group: GroupId,
    pub addresses: Vec<Address>,
    keys: watch::Receiver<Vec<Key>>,
    failed: watch::Receiver<Option<Failure>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Registration {
    /// The keys that capabilities are signed with; the newest signs, all verify.
    pub fn keys(&self) -> watch::Receiver<Vec<Key>> {
        self.keys.clone()
    }

    /// Waits until the DIR refuses this daemon for good, as when another has taken its id.
    pub async fn refused(&self) -> Failure {
        let mut failed = self.failed.clone();
        let refused = failed.wait_for(Option::is_some).await.map(|failure| failure.clone());
        match refused {
            Ok(Some(failure)) => failure,
            // The heartbeats have been ended: nothing is refused any more.
            _ => std::future::pending().await,
        }
    }

    /// Ends the heartbeats and tells the DIR that the daemon stops in good order.
    pub async fn leave(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A task that panicked has nothing to tell the DIR.
            task.await.unwrap_or_default();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A crash, to the DIR: it hears nothing any more.
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Learns the id of the cluster; for a daemon that needs it before it can say its load.
pub async fn find_cluster(
    directory: &Directory,
    own: Option<ClusterId>,
    stop: &CancellationToken,
) -> Result<ClusterId, Failure> {
    let end = own.is_none().then(|| Instant::now() + FIRST_CONTACT_MAX);
    let mut pause = PAUSE_MIN;
    loop {
        let err = match directory.describe(CALL_DEADLINE).await {
            Ok(cluster) if own.is_none_or(|own| own == cluster) => return Ok(cluster),
            Ok(other) => return Err(other_cluster(other, own)),
            Err(err) => err,
        };
        if !err.is_retryable() {
            return Err(refused(err));
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::new(err.to_string(), "check --dir, and that xtfs-dir runs there"));
        }
        tracing::warn!("{err}; asking again");
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return Err(Failure::new("stopped before a DIR answered", "")),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Registers and keeps it so with heartbeats, until [`Registration::leave`], a drop or a refusal.
pub async fn register(
    directory: Directory,
    who: Registrant,
    stop: &CancellationToken,
) -> Result<Registration, Failure> {
    let cluster = find_cluster(&directory, who.cluster, stop).await?;
    let member = Member { directory, cluster, instance: InstanceId::generate(), who };
    let (reply, addresses) = member.register_patiently(stop).await?;
    let (keys, keys_seen) = watch::channel(read_keys(&reply.keys));
    let (failed, failed_seen) = watch::channel(None);
    let group = GroupId(reply.group);
    let token = CancellationToken::new();
    let interval = Duration::from_millis(reply.heartbeat_ms.into());
    let heartbeat = Heartbeat { member, interval, keys, failed, stop: token.clone() };
    let task = tokio::spawn(heartbeat.run());
    Ok(Registration {
        cluster,
        group,
        addresses,
        keys: keys_seen,
        failed: failed_seen,
        stop: token,
        task: Some(task),
    })
}

/// One run of a daemon, as the DIR knows it.
struct Member {
    directory: Directory,
    cluster: ClusterId,
    instance: InstanceId,
    who: Registrant,
}

struct Heartbeat {
    member: Member,
    interval: Duration,
    keys: watch::Sender<Vec<Key>>,
    failed: watch::Sender<Option<Failure>>,
    stop: CancellationToken,
}

impl Heartbeat {
    async fn run(self) {
        let mut away = false;
        loop {
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.stop.cancelled() => break,
            }
            let answer = match self.member.heartbeat().await {
                Ok(reply) if reply.register_again => {
                    tracing::info!("the DIR asks to register again");
                    match self.member.register_patiently(&self.stop).await {
                        Ok((reply, _)) => Ok(reply.keys),
                        Err(failure) if self.stop.is_cancelled() => {
                            tracing::debug!("{failure}");
                            break;
                        }
                        Err(failure) => {
                            self.failed.send_replace(Some(failure));
                            return;
                        }
                    }
                }
                Ok(reply) => Ok(reply.keys),
                Err(err) if err.is_retryable() => Err(err),
                Err(err) => {
                    self.failed.send_replace(Some(refused(err)));
                    return;
                }
            };
            match answer {
                Ok(keys) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("the DIR is back");
                    }
                    self.take_keys(&keys);
                }
                Err(err) if !std::mem::replace(&mut away, true) => {
                    tracing::warn!("heartbeat: {err}; serving on, trying again");
                }
                Err(_) => {}
            }
        }
        self.member.deregister().await;
    }

    fn take_keys(&self, wire: &[v1::Key]) {
        let new = read_keys(wire);
        self.keys.send_if_modified(|keys| {
            let changed = *keys != new && !new.is_empty();
            if changed {
                *keys = new;
            }
            changed
        });
    }
}

impl Member {
    /// Registers; asks again while the DIR is away, and for a while if it refuses because of a
    /// predecessor.
    async fn register_patiently(
        &self,
        stop: &CancellationToken,
    ) -> Result<(v1::RegisterReply, Vec<Address>), Failure> {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let err = match self.register().await {
                Ok(done) => return Ok(done),
                Err(err) => err,
            };
            let taken = matches!(err, Error::Busy(_));
            if !taken && !err.is_retryable() || taken && start.elapsed() > REFUSED_MAX {
                return Err(refused(err));
            }
            tracing::warn!("register: {err}; trying again");
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {
                    return Err(Failure::new("stopped before it was registered", ""));
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn register(&self) -> Result<(v1::RegisterReply, Vec<Address>)> {
        let addresses = match &self.who.advertise[..] {
            [] => vec![self.default_address().await?],
            advertised => advertised.to_vec(),
        };
        let load = (self.who.load)();
        let request = v1::RegisterRequest {
            header: None,
            instance: self.instance.to_wire().into(),
            node: self.who.node.clone(),
            addresses: addresses.iter().map(Address::to_string).collect(),
            targets: load.targets,
            mrc: load.mrc,
            now_ns: 0,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let register = |mut dir: crate::connect::DirService, left| {
            let header = Some(self.header(left));
            // At the last moment: the DIR compares it with its own clock.
            let now_ns = self.who.clock.now().0;
            let request = v1::RegisterRequest { header, now_ns, ..request.clone() };
            async move { dir.register(request).await }
        };
        let reply = self.directory.call(CALL_DEADLINE, register).await?;
        Ok((reply, addresses))
    }

    async fn heartbeat(&self) -> Result<v1::HeartbeatReply> {
        let load = (self.who.load)();
        let heartbeat = |mut dir: crate::connect::DirService, left| {
            let request = v1::HeartbeatRequest {
                header: Some(self.header(left)),
                instance: self.instance.to_wire().into(),
                targets: load.targets.clone(),
                mrc: load.mrc.clone(),
            };
            async move { dir.heartbeat(request).await }
        };
        self.directory.call(CALL_DEADLINE, heartbeat).await
    }

    /// Best effort: without it the DIR notices by the silence.
    async fn deregister(&self) {
        let deregister = |mut dir: crate::connect::DirService, left| {
            let request = v1::DeregisterRequest {
                header: Some(self.header(left)),
                instance: self.instance.to_wire().into(),
            };
            async move { dir.deregister(request).await }
        };
        if let Err(err) = self.directory.call(Duration::from_secs(1), deregister).await {
            tracing::debug!("deregister: {err}");
        }
    }

    fn header(&self, left: Duration) -> v1::RequestHeader {
        Header { deadline: Some(left), ..Header::new(Some(self.cluster)) }.into()
    }

    /// The address from which this host reaches the DIR.
    async fn default_address(&self) -> Result<Address> {
        let mut failures = Vec::new();
        for member in self.directory.members() {
            let connect = TcpStream::connect((member.host(), member.port()));
            let local = match timeout(CALL_DEADLINE, connect).await {
                Ok(connected) => connected.and_then(|stream| stream.local_addr()),
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            };
            match local {
                Ok(local) => {
                    let ip: IpAddr = local.ip().to_canonical();
                    return Ok(Address::new(&ip.to_string(), self.who.listen_port));
                }
                Err(err) => failures.push(format!("{member}: {err}")),
            }
        }
        Err(Error::Unavailable(format!("no DIR answered ({})", failures.join(", "))))
    }
}

fn read_keys(wire: &[v1::Key]) -> Vec<Key> {
    wire.iter().map(|key| Key::new(key.id, key.secret.to_vec())).collect()
}

/// The DIR's text carries cause and next step.
fn refused(err: Error) -> Failure {
    let cause = match err {
        Error::Busy(text) | Error::Invalid(text) => text,
        err => err.to_string(),
    };
    Failure::new(format!("the DIR refuses this service: {cause}"), "")
}

fn other_cluster(found: ClusterId, own: Option<ClusterId>) -> Failure {
    let own = own.map(|own| own.to_string()).unwrap_or_default();
    Failure::new(
        format!("the data directory belongs to cluster {own}, but the DIR keeps cluster {found}"),
        "correct --dir, or use another --data directory",
    )
}

/// Name of this host.
pub fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl fmt::Debug for Registrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrant").field("node", &self.node).finish_non_exhaustive()
    }
}
