//! The DIR itself: what each request does.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xtfs_core::{
    Clock, ClusterId, Error, GroupId, InstanceId, PROTOCOL_VERSION, Result, TargetId, VolumeId,
};
use xtfs_kv::Read;
use xtfs_proto::{Header, v1};
use xtfs_replog::{Durability, Replog};
use xtfs_rpc::{Address, DataDir, Failure, Role, TargetState};

use crate::config::Config;
use crate::liveness::{Change, Liveness, Report, Subject};
use crate::machine::{Command, Done, Machine};
use crate::rows::{self, Secret};
use crate::wire::{self, Registrant};

/// Clocks further apart make expiries meaningless.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// A new key reaches every OSD with its heartbeats before an MRC signs with it.
const KEY_SPREAD: Duration = Duration::from_secs(60);
/// How often silence, and the age of the key, are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// An open DIR. It serves once it is added to a server, see [`Dir::add_to`].
#[derive(Debug)]
pub struct Dir {
    pub(crate) config: Config,
    advertise: Vec<Address>,
    clock: Arc<dyn Clock>,
    cluster: ClusterId,
    replog: Arc<Replog<Machine>>,
    liveness: Mutex<Liveness>,
    pub(crate) versions: watch::Sender<Versions>,
    /// Locks the directory as long as the DIR lives.
    _data: DataDir,
}

/// How often what watchers see has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Members, states, liveness, faults: told at once.
    pub(crate) facts: u64,
    /// Only free and used bytes: told now and then.
    pub(crate) load: u64,
}

impl Dir {
    /// Opens the DIR in the data directory of `config`; a new directory founds a cluster.
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Failure> {
        config.validate()?;
        let path = config.data.clone().ok_or_else(|| {
            Failure::new("no data directory", "give --data DIR, or set data in /etc/xtfs/dir.toml")
        })?;
        let data = DataDir::open(&path, Role::Dir, None)?;
        let replog =
            Replog::open(&data.path().join("log"), xtfs_replog::Config::default(), Machine).await?;
        let cluster = match found(&replog, &data, &*clock).await {
            Ok(cluster) => cluster,
            Err(failure) => {
                // Closed before the directory is unlocked. What fails here is no news.
                replog.shutdown().await.unwrap_or_default();
                return Err(failure);
            }
        };
        let liveness = Liveness::new(Instant::now(), config.silence_max());
        let advertise = config.advertise()?;
        Ok(Arc::new(Dir {
            config,
            advertise,
            clock,
            cluster,
            replog,
            liveness: Mutex::new(liveness),
            versions: watch::Sender::default(),
            _data: data,
        }))
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Background work until `stop`; then everything is synced and closed.
    pub async fn run(&self, stop: CancellationToken) {
        let mut alive = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            match self.living() {
                Ok(now) if now != alive => {
                    self.changed();
                    alive = now;
                }
                Ok(_) => {}
                Err(err) => tracing::error!("look for silent services: {err}"),
            }
            if let Err(err) = self.rotate_key_if_old().await {
                tracing::warn!("make a new key: {err}");
            }
        }
        if let Err(err) = self.replog.shutdown().await {
            tracing::error!("close the log: {err}");
        }
    }

    /// Refuses another cluster.
    pub(crate) fn admit(&self, header: Option<v1::RequestHeader>) -> Result<Header> {
        Header::try_from(header)?.for_cluster(self.cluster)
    }

    pub(crate) fn describe(&self, reached_at: Option<SocketAddr>) -> v1::DescribeReply {
        v1::DescribeReply {
            log: Some(self.log_status(None)),
            cluster: self.cluster.to_wire().into(),
            members: self.members(reached_at),
            protocol: PROTOCOL_VERSION,
        }
    }

    pub(crate) async fn register(
        &self,
        who: Registrant,
        peer: Option<IpAddr>,
    ) -> Result<v1::RegisterReply> {
        self.check_clock(&who)?;
        check_loopback(&who, peer)?;
        let Registrant { instance, host, report, claim, .. } = who;
        let targets = report.targets.values().cloned().collect();
        self.liveness().register(instance, host.addresses.clone(), report, Instant::now())?;
        let command = Command::Register { host, targets, mrc: claim };
        let (done, index) = match self.propose(command).await {
            Ok(done) => done,
            Err(err) => {
                self.liveness().leave(instance);
                return Err(err);
            }
        };
        self.changed();
        let group = if let Done::Group(group) = done { group } else { GroupId(0) };
        Ok(v1::RegisterReply {
            log: Some(self.log_status(Some(index))),
            group: group.0,
            keys: self.keys(claim.is_some())?,
            heartbeat_ms: self.config.heartbeat_ms,
        })
    }

    pub(crate) fn heartbeat(
        &self,
        instance: InstanceId,
        report: Report,
    ) -> Result<v1::HeartbeatReply> {
        let signs = report.mrc.is_some();
        let change = self.liveness().heartbeat(instance, report, Instant::now());
        match change {
            Change::Nothing | Change::Unknown => {}
            Change::Load => self.versions.send_modify(|versions| versions.load += 1),
            Change::Facts => self.changed(),
        }
        Ok(v1::HeartbeatReply {
            log: Some(self.log_status(None)),
            keys: self.keys(signs)?,
            register_again: change == Change::Unknown,
        })
    }

    pub(crate) fn deregister(&self, instance: InstanceId) -> v1::DeregisterReply {
        self.liveness().leave(instance);
        self.changed();
        v1::DeregisterReply { log: Some(self.log_status(None)) }
    }

    pub(crate) async fn list(&self, reached_at: Option<SocketAddr>) -> Result<v1::ListReply> {
        self.replog.barrier().await?;
        self.list_now(reached_at)
    }

    /// As far as this member knows.
    pub(crate) fn list_now(&self, reached_at: Option<SocketAddr>) -> Result<v1::ListReply> {
        let (targets, mrcs, volumes) = self.replog.view(|read: &dyn Read| {
            Ok::<_, Error>((rows::targets(read)?, rows::mrcs(read)?, rows::volumes(read)?))
        })?;
        let now = Instant::now();
        let liveness = self.liveness();
        let targets = targets.into_iter().map(|row| {
            let pulse = liveness.pulse(Subject::Target(row.facts.id), now);
            wire::target_record(row, pulse)
        });
        let mrcs = mrcs.into_iter().map(|row| {
            let pulse = liveness.pulse(Subject::Mrc(row.id), now);
            wire::mrc_record(row, pulse)
        });
        Ok(v1::ListReply {
            log: Some(self.log_status(None)),
            targets: targets.collect(),
            mrcs: mrcs.collect(),
            volumes: volumes.into_iter().map(wire::volume_record).collect(),
            members: self.members(reached_at),
        })
    }

    pub(crate) async fn set_target_state(
        &self,
        target: TargetId,
        state: TargetState,
    ) -> Result<v1::SetTargetStateReply> {
        let (_, index) = self.propose(Command::SetTargetState { target, state }).await?;
        tracing::info!(%target, %state, "target state set");
        self.changed();
        Ok(v1::SetTargetStateReply { log: Some(self.log_status(Some(index))) })
    }

    pub(crate) async fn claim_volume(
        &self,
        name: String,
        group: GroupId,
    ) -> Result<v1::ClaimVolumeReply> {
        wire::check_volume_name(&name)?;
        let (done, index) = self.propose(Command::ClaimVolume { name, group }).await?;
        let Done::Volume(id) = done else {
            return Err(Error::Internal(format!("a claim was answered with {done:?}")));
        };
        self.changed();
        Ok(v1::ClaimVolumeReply { log: Some(self.log_status(Some(index))), id: id.0 })
    }

    pub(crate) async fn release_volume(
        &self,
        name: String,
        id: VolumeId,
    ) -> Result<v1::ReleaseVolumeReply> {
        let (_, index) = self.propose(Command::ReleaseVolume { name, id }).await?;
        self.changed();
        Ok(v1::ReleaseVolumeReply { log: Some(self.log_status(Some(index))) })
    }

    /// Why changes are refused.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.replog.fault()
    }

    async fn propose(&self, command: Command) -> Result<(Done, u64)> {
        let receipt = self.replog.propose(command, Durability::Durable).await?;
        Ok((receipt.reply?, receipt.index))
    }

    fn check_clock(&self, who: &Registrant) -> Result<()> {
        let own = self.clock.now();
        let (ahead, behind) = (who.now.since(own), own.since(who.now));
        let skew = ahead.max(behind);
        if skew <= SKEW_MAX {
            return Ok(());
        }
        let side = if ahead > behind { "ahead of" } else { "behind" };
        Err(Error::Invalid(format!(
            "the clock of {} is {:.1} s {side} the DIR's; run chrony or ntpd on both",
            who.host.node,
            skew.as_secs_f64()
        )))
    }

    /// Those that sign do not get a key before all who verify have it.
    fn keys(&self, signs: bool) -> Result<Vec<v1::Key>> {
        let keys = self.replog.view(rows::keys)?;
        let now = self.clock.now();
        let spread = |made| !signs || now.since(made) >= KEY_SPREAD;
        let usable = keys.iter().filter(|key| key.id == keys[0].id || spread(key.made));
        Ok(usable.map(wire::key).collect())
    }

    async fn rotate_key_if_old(&self) -> Result<()> {
        let keys = self.replog.view(rows::keys)?;
        let now = self.clock.now();
        let Some(newest) = keys.last() else { return Ok(()) };
        if now.since(newest.made) < self.config.key_age_max() {
            return Ok(());
        }
        let secret = Secret(rand::random());
        self.propose(Command::RotateKey { newest: newest.id, secret, now }).await?;
        tracing::info!("a new key signs capabilities from now on");
        Ok(())
    }

    fn living(&self) -> Result<Vec<Subject>> {
        let (targets, mrcs) = self
            .replog
            .view(|read: &dyn Read| Ok::<_, Error>((rows::targets(read)?, rows::mrcs(read)?)))?;
        let targets = targets.into_iter().map(|row| Subject::Target(row.facts.id));
        let subjects = targets.chain(mrcs.into_iter().map(|row| Subject::Mrc(row.id)));
        let now = Instant::now();
        let liveness = self.liveness();
        Ok(subjects.filter(|subject| liveness.pulse(*subject, now).alive).collect())
    }

    fn members(&self, reached_at: Option<SocketAddr>) -> Vec<String> {
        if self.advertise.is_empty() {
            reached_at.map(|at| Address::from(at).to_string()).into_iter().collect()
        } else {
            self.advertise.iter().map(Address::to_string).collect()
        }
    }

    fn log_status(&self, index: Option<u64>) -> v1::LogStatus {
        let status = self.replog.status();
        v1::LogStatus {
            term: status.term,
            term_start: status.term_start,
            index: index.unwrap_or(status.index),
            durable: status.durable,
            now_ns: self.clock.now().0,
        }
    }

    fn changed(&self) {
        self.versions.send_modify(|versions| versions.facts += 1);
    }

    fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the cluster of the log and that of the marker together.
async fn found(
    replog: &Replog<Machine>,
    data: &DataDir,
    clock: &dyn Clock,
) -> Result<ClusterId, Failure> {
    replog.barrier().await?;
    let cluster = match (replog.view(rows::cluster)?, data.cluster()) {
        (Some(cluster), _) => cluster,
        (None, Some(lost)) => {
            return Err(Failure::new(
                format!("{}: the log of cluster {lost} is empty", data.path().display()),
                "restore the data directory from a copy; nothing was changed",
            ));
        }
        (None, None) => {
            let (cluster, secret) = (ClusterId::generate(), Secret(rand::random()));
            let command = Command::Found { cluster, secret, now: clock.now() };
            match replog.propose(command, Durability::Durable).await?.reply? {
                Done::Cluster(cluster) => cluster,
                done => return Err(Error::Internal(format!("founding gave {done:?}")).into()),
            }
        }
    };
    data.adopt(cluster)?;
    Ok(cluster)
}

fn check_loopback(who: &Registrant, peer: Option<IpAddr>) -> Result<()> {
    let remote = peer.is_some_and(|ip| !ip.to_canonical().is_loopback());
    match who.host.addresses.iter().find(|address| address.is_loopback()) {
        Some(address) if remote => Err(Error::Invalid(format!(
            "{} advertises {address}, which other hosts cannot reach; \
             start it with --listen and --advertise of an address of its network",
            who.host.node
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Host;

    #[test]
    fn loopback_is_refused_from_another_host() {
        let at = |host: &str| Registrant {
            instance: InstanceId::generate(),
            host: Host {
                node: "n1".into(),
                addresses: vec![Address::new(host, 1)],
                version: String::new(),
            },
            report: Report::default(),
            claim: None,
            now: xtfs_core::Timestamp(0),
        };
        let peer = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(check_loopback(&at("127.0.0.1"), peer("::ffff:127.0.0.1")), Ok(()));
        assert_eq!(check_loopback(&at("10.0.0.1"), peer("10.0.0.1")), Ok(()));
        for host in ["127.0.0.1", "::1", "localhost"] {
            let refused = check_loopback(&at(host), peer("10.0.0.7")).unwrap_err().to_string();
            assert!(refused.contains("--advertise"), "{refused}");
        }
    }
}
