//! What the DIR knows of the cluster, as its readers see it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xtfs_core::{BootNumber, Error, GroupId, Result, ServiceId, TargetId, VolumeId};
use xtfs_proto::v1;

use crate::address::Address;

/// What an operator wants of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Takes new files.
    Online,
    /// Serves what it has, takes no new files.
    Locked,
    /// Its columns are being moved away.
    Draining,
    /// Is never asked again.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    pub id: TargetId,
    pub node: String,
    /// Data directory on its node.
    pub path: String,
    /// Best first.
    pub addresses: Vec<Address>,
    pub state: TargetState,
    pub alive: bool,
    pub heartbeat_age: Duration,
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    /// Targets on the same file system share their bytes. `None`: it counts by itself.
    pub filesystem: Option<String>,
    pub zone: String,
    pub labels: BTreeMap<String, String>,
    pub boot: BootNumber,
    /// Why it does not serve, and the next step.
    pub fault: Option<String>,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrcRecord {
    pub id: ServiceId,
    pub group: GroupId,
    pub leader: bool,
    pub node: String,
    pub addresses: Vec<Address>,
    pub alive: bool,
    pub heartbeat_age: Duration,
    /// Why it serves no changes, and the next step.
    pub fault: Option<String>,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    pub name: String,
    pub id: VolumeId,
    pub group: GroupId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceList {
    pub targets: Vec<TargetRecord>,
    pub mrcs: Vec<MrcRecord>,
    pub volumes: Vec<VolumeRecord>,
    /// Addresses of the DIR's members.
    pub members: Vec<Address>,
}

impl ServiceList {
    pub fn target(&self, id: TargetId) -> Option<&TargetRecord> {
        self.targets.iter().find(|target| target.id == id)
    }

    pub fn volume(&self, name: &str) -> Option<&VolumeRecord> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// The members of `group`, the leader and the living first.
    pub fn group(&self, group: GroupId) -> Vec<&MrcRecord> {
        let mut members: Vec<_> = self.mrcs.iter().filter(|mrc| mrc.group == group).collect();
        members.sort_by_key(|mrc| (!mrc.leader, !mrc.alive));
        members
    }
}

impl TargetState {
    pub const ALL: [TargetState; 4] =
        [TargetState::Online, TargetState::Locked, TargetState::Draining, TargetState::Removed];

    pub fn name(self) -> &'static str {
        match self {
            TargetState::Online => "online",
            TargetState::Locked => "locked",
            TargetState::Draining => "draining",
            TargetState::Removed => "removed",
        }
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TargetState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        TargetState::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| format!("{text:?} is not online, locked, draining or removed"))
    }
}

impl TryFrom<v1::TargetState> for TargetState {
    type Error = Error;

    fn try_from(wire: v1::TargetState) -> Result<Self> {
        match wire {
            v1::TargetState::Online => Ok(TargetState::Online),
            v1::TargetState::Locked => Ok(TargetState::Locked),
            v1::TargetState::Draining => Ok(TargetState::Draining),
            v1::TargetState::Removed => Ok(TargetState::Removed),
            v1::TargetState::Unspecified => Err(Error::Invalid("no target state".into())),
        }
    }
}

impl From<TargetState> for v1::TargetState {
    fn from(state: TargetState) -> Self {
        match state {
            TargetState::Online => v1::TargetState::Online,
            TargetState::Locked => v1::TargetState::Locked,
            TargetState::Draining => v1::TargetState::Draining,
            TargetState::Removed => v1::TargetState::Removed,
        }
    }
}

impl TryFrom<v1::ListReply> for ServiceList {
    type Error = Error;

    fn try_from(wire: v1::ListReply) -> Result<Self> {
        Ok(ServiceList {
            targets: wire.targets.into_iter().map(TryFrom::try_from).collect::<Result<_>>()?,
            mrcs: wire.mrcs.into_iter().map(TryFrom::try_from).collect::<Result<_>>()?,
            volumes: wire.volumes.into_iter().map(From::from).collect(),
            members: addresses(&wire.members)?,
        })
    }
}

impl TryFrom<v1::TargetRecord> for TargetRecord {
    type Error = Error;

    fn try_from(wire: v1::TargetRecord) -> Result<Self> {
        let state = wire.state().try_into()?;
        let target = wire.target.ok_or_else(|| Error::Invalid("a record without target".into()))?;
        Ok(TargetRecord {
            id: TargetId::from_wire(&target.id)?,
            node: wire.node,
            path: target.path,
            addresses: addresses(&wire.addresses)?,
            state,
            alive: wire.alive,
            heartbeat_age: Duration::from_millis(wire.heartbeat_age_ms),
            total_bytes: target.total_bytes,
            used_bytes: target.used_bytes,
            free_bytes: target.free_bytes,
            filesystem: non_empty(target.filesystem),
            zone: target.zone,
            labels: target.labels.into_iter().collect(),
            boot: BootNumber(target.boot),
            fault: non_empty(target.fault),
            version: wire.version,
        })
    }
}

impl TryFrom<v1::MrcRecord> for MrcRecord {
    type Error = Error;

    fn try_from(wire: v1::MrcRecord) -> Result<Self> {
        let mrc = wire.mrc.ok_or_else(|| Error::Invalid("a record without MRC".into()))?;
        Ok(MrcRecord {
            id: ServiceId::from_wire(&mrc.id)?,
            group: GroupId(mrc.group),
            leader: mrc.leader,
            node: wire.node,
            addresses: addresses(&wire.addresses)?,
            alive: wire.alive,
            heartbeat_age: Duration::from_millis(wire.heartbeat_age_ms),
            fault: non_empty(mrc.fault),
            version: wire.version,
        })
    }
}

impl From<v1::VolumeRecord> for VolumeRecord {
    fn from(wire: v1::VolumeRecord) -> Self {
        VolumeRecord { name: wire.name, id: VolumeId(wire.id), group: GroupId(wire.group) }
    }
}

/// Addresses as they travel.
pub fn addresses(wire: &[String]) -> Result<Vec<Address>> {
    let read = |text: &String| text.parse::<Address>();
    wire.iter().map(read).collect::<Result<_, _>>().map_err(|err| Error::Invalid(err.to_string()))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
