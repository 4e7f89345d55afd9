//! Messages of the DIR, decoded once and bounded.

use std::collections::HashMap;

use xtfs_core::{Error, GroupId, InstanceId, Result, ServiceId, TargetId, Timestamp};
use xtfs_proto::v1;
use xtfs_rpc::addresses;

use crate::liveness::{MrcReport, Pulse, Report};
use crate::machine::MrcClaim;
use crate::rows::{Host, KeyRow, MrcRow, TargetFacts, TargetRow, VolumeRow};

/// Data directories of one daemon.
const TARGETS_MAX: usize = 1024;
const ADDRESSES_MAX: usize = 16;
const LABELS_MAX: usize = 64;
/// Bytes of a path, a fault, a label.
const TEXT_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// A daemon that makes itself known.
#[derive(Clone, Debug)]
pub(crate) struct Registrant {
    pub(crate) instance: InstanceId,
    pub(crate) host: Host,
    pub(crate) report: Report,
    pub(crate) claim: Option<MrcClaim>,
    pub(crate) now: Timestamp,
}

impl TryFrom<v1::RegisterRequest> for Registrant {
    type Error = Error;

    fn try_from(wire: v1::RegisterRequest) -> Result<Self> {
        bounded("node name", &wire.node, NAME_MAX)?;
        bounded("version", &wire.version, NAME_MAX)?;
        if !(1..=ADDRESSES_MAX).contains(&wire.addresses.len()) {
            let count = wire.addresses.len();
            return Err(Error::Invalid(format!(
                "{count} addresses, 1 to {ADDRESSES_MAX} are taken"
            )));
        }
        let addresses = addresses(&wire.addresses)?;
        let claim = wire.mrc.as_ref().map(|mrc| {
            let id = ServiceId::from_wire(&mrc.id)?;
            Ok::<_, Error>(MrcClaim { id, group: GroupId(mrc.group) })
        });
        let report = report(wire.targets, wire.mrc)?;
        if report.subjects().next().is_none() {
            return Err(Error::Invalid("a registration of nothing".into()));
        }
        Ok(Registrant {
            instance: InstanceId::from_wire(&wire.instance)?,
            host: Host { node: wire.node, addresses, version: wire.version },
            report,
            claim: claim.transpose()?,
            now: Timestamp(wire.now_ns),
        })
    }
}

pub(crate) fn report(targets: Vec<v1::Target>, mrc: Option<v1::MrcServer>) -> Result<Report> {
    if targets.len() > TARGETS_MAX {
        return Err(Error::Invalid(format!("more than {TARGETS_MAX} targets in one daemon")));
    }
    let mut read = HashMap::new();
    for target in targets {
        let facts = facts(target)?;
        if let Some(twice) = read.insert(facts.id, facts) {
            return Err(Error::Invalid(format!("target {} is given twice", twice.id)));
        }
    }
    let mrc = mrc.map(|mrc| {
        bounded("fault", &mrc.fault, TEXT_MAX)?;
        let id = ServiceId::from_wire(&mrc.id)?;
        Ok::<_, Error>(MrcReport { id, leader: mrc.leader, fault: mrc.fault })
    });
    Ok(Report { targets: read, mrc: mrc.transpose()? })
}

fn facts(wire: v1::Target) -> Result<TargetFacts> {
    bounded("path", &wire.path, TEXT_MAX)?;
    bounded("file system", &wire.filesystem, NAME_MAX)?;
    bounded("zone", &wire.zone, NAME_MAX)?;
    bounded("fault", &wire.fault, TEXT_MAX)?;
    if wire.labels.len() > LABELS_MAX {
        return Err(Error::Invalid(format!("more than {LABELS_MAX} labels")));
    }
    for (label, value) in &wire.labels {
        bounded("label", label, NAME_MAX)?;
        bounded("label", value, NAME_MAX)?;
    }
    Ok(TargetFacts {
        id: TargetId::from_wire(&wire.id)?,
        path: wire.path,
        total_bytes: wire.total_bytes,
        used_bytes: wire.used_bytes,
        free_bytes: wire.free_bytes,
        filesystem: wire.filesystem,
        zone: wire.zone,
        labels: wire.labels.into_iter().collect(),
        boot: wire.boot,
        fault: wire.fault,
    })
}

fn bounded(what: &str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::Invalid(format!("a {what} of more than {max} bytes")));
    }
    Ok(())
}

/// A volume name stands in `DIR/VOLUME/SUBDIR` on command lines and in file names.
pub(crate) fn check_volume_name(name: &str) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    let odd = |c: char| c == '/' || c == ',' || c.is_control() || c.is_whitespace();
    if name.is_empty() || name == "." || name == ".." || name.starts_with('-') || name.contains(odd)
    {
        return Err(Error::Invalid(format!(
            "{name:?} is no name for a volume; use letters, digits, '_', '.' and '-'"
        )));
    }
    Ok(())
}

pub(crate) fn target_record(row: TargetRow, pulse: Pulse<'_>) -> v1::TargetRecord {
    let said = pulse.report.and_then(|report| report.targets.get(&row.facts.id));
    let facts = said.cloned().unwrap_or(row.facts);
    v1::TargetRecord {
        target: Some(v1::Target {
            id: facts.id.to_wire().into(),
            path: facts.path,
            total_bytes: facts.total_bytes,
            used_bytes: facts.used_bytes,
            free_bytes: facts.free_bytes,
            filesystem: facts.filesystem,
            zone: facts.zone,
            labels: facts.labels.into_iter().collect(),
            boot: facts.boot,
            fault: facts.fault,
        }),
        node: row.host.node,
        addresses: row.host.addresses.iter().map(ToString::to_string).collect(),
        state: v1::TargetState::from(row.state).into(),
        alive: pulse.alive,
        heartbeat_age_ms: millis(pulse.age),
        version: row.host.version,
    }
}

pub(crate) fn mrc_record(row: MrcRow, pulse: Pulse<'_>) -> v1::MrcRecord {
    let said = pulse.report.and_then(|report| report.mrc.as_ref());
    v1::MrcRecord {
        mrc: Some(v1::MrcServer {
            id: row.id.to_wire().into(),
            group: row.group.0,
            leader: said.is_some_and(|mrc| mrc.leader),
            fault: said.map(|mrc| mrc.fault.clone()).unwrap_or_default(),
        }),
        node: row.host.node,
        addresses: row.host.addresses.iter().map(ToString::to_string).collect(),
        alive: pulse.alive,
        heartbeat_age_ms: millis(pulse.age),
        version: row.host.version,
    }
}

pub(crate) fn volume_record((name, row): (String, VolumeRow)) -> v1::VolumeRecord {
    v1::VolumeRecord { name, id: row.id.0, group: row.group.0 }
}

pub(crate) fn key(row: &KeyRow) -> v1::Key {
    v1::Key { id: row.id, secret: row.secret.0.to_vec().into() }
}

fn millis(age: std::time::Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_names_are_checked() {
        for good in ["scratch", "a.b-c_d", "größe", &"x".repeat(255)] {
            assert_eq!(check_volume_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a,b", "a b", "-x", "a\nb"] {
            assert!(matches!(check_volume_name(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
        assert_eq!(check_volume_name(&"x".repeat(256)), Err(Error::NameTooLong));
    }
}
