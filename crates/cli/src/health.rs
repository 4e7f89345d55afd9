//! Is the cluster well, and if not, why, and what to do. Pure; `status.rs` asks and prints.

use serde::Serialize;
use xtfs_core::units::Bytes;
use xtfs_rpc::{MrcRecord, ServiceList, TargetRecord, TargetState};

use crate::output::{age, joined};

/// Below this share of its space a target is called nearly full.
const NEARLY_FULL_PERCENT: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    Ok,
    Warning,
    Critical,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub severity: Health,
    pub subject: String,
    pub cause: String,
    pub next: String,
}

/// Everything that is not as it should be.
pub(crate) fn judge(services: &ServiceList) -> Vec<Check> {
    let mut checks = Vec::new();
    if services.mrcs.is_empty() {
        checks.push(check(Health::Warning, "mrc", "no MRC has registered", "start xtfs-mrc"));
    }
    checks.extend(services.mrcs.iter().filter_map(judge_mrc));
    let in_use = || services.targets.iter().filter(|target| target.state != TargetState::Removed);
    if in_use().next().is_none() {
        checks.push(check(Health::Warning, "osd", "no OSD has registered", "start xtfs-osd"));
    }
    checks.extend(in_use().filter_map(judge_target));
    checks
}

/// The worst of all.
pub(crate) fn overall(checks: &[Check]) -> Health {
    checks.iter().map(|check| check.severity).max().unwrap_or(Health::Ok)
}

fn judge_mrc(mrc: &MrcRecord) -> Option<Check> {
    let subject = format!("mrc {} on {} ({})", mrc.id, mrc.node, joined(&mrc.addresses));
    if !mrc.alive {
        let cause = format!("silent for {}; its volumes give EIO", age(mrc.heartbeat_age));
        return Some(check(Health::Critical, subject, cause, "start xtfs-mrc there again"));
    }
    let fault = mrc.fault.clone()?;
    Some(check(Health::Critical, subject, fault, "see its log"))
}

fn judge_target(target: &TargetRecord) -> Option<Check> {
    let TargetRecord { id, node, path, .. } = target;
    let subject = format!("osd {id} on {node} ({}) {path}", joined(&target.addresses));
    if !target.alive {
        let cause = format!("silent for {}; its files give EIO", age(target.heartbeat_age));
        let next = "start xtfs-osd there again; its data is back at once";
        return Some(check(Health::Critical, subject, cause, next));
    }
    if let Some(fault) = &target.fault {
        return Some(check(Health::Critical, subject, fault, "see its log"));
    }
    let nearly_full =
        target.free_bytes.saturating_mul(100) < target.total_bytes * NEARLY_FULL_PERCENT;
    nearly_full.then(|| {
        let cause = format!("nearly full: {} left", Bytes(target.free_bytes));
        check(Health::Warning, subject, cause, "add an OSD, or delete files")
    })
}

fn check(
    severity: Health,
    subject: impl Into<String>,
    cause: impl Into<String>,
    next: impl Into<String>,
) -> Check {
    let (subject, cause, next) = (subject.into(), cause.into(), next.into());
    Check { severity, subject, cause, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;
    use xtfs_core::{BootNumber, GroupId, ServiceId, TargetId};

    fn target() -> TargetRecord {
        TargetRecord {
            id: TargetId::generate(),
            node: "n1".into(),
            path: "/disk1".into(),
            addresses: Vec::new(),
            state: TargetState::Online,
            alive: true,
            heartbeat_age: Duration::from_secs(1),
            total_bytes: 1000,
            used_bytes: 100,
            free_bytes: 900,
            filesystem: None,
            zone: String::new(),
            labels: BTreeMap::new(),
            boot: BootNumber(1),
            fault: None,
            version: String::new(),
        }
    }

    fn mrc() -> MrcRecord {
        MrcRecord {
            id: ServiceId::generate(),
            group: GroupId(1),
            leader: true,
            node: "n1".into(),
            addresses: Vec::new(),
            alive: true,
            heartbeat_age: Duration::from_secs(1),
            fault: None,
            version: String::new(),
        }
    }

    #[track_caller]
    fn check(mrc: MrcRecord, target: TargetRecord, expected: Health, says: &str) {
        let services = ServiceList {
            targets: vec![target],
            mrcs: vec![mrc],
            volumes: vec![],
            members: vec![],
        };
        let checks = judge(&services);
        assert_eq!(overall(&checks), expected);
        assert!(format!("{checks:?}").contains(says), "{checks:?}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(mrc(), target(), Health::Ok, "");
        check(mrc(), TargetRecord { alive: false, ..target() }, Health::Critical, "/disk1");
        check(mrc(), TargetRecord { free_bytes: 40, ..target() }, Health::Warning, "nearly full");
        let broken = TargetRecord { fault: Some("disk error".into()), ..target() };
        check(mrc(), broken, Health::Critical, "disk error");
        check(MrcRecord { alive: false, ..mrc() }, target(), Health::Critical, "silent");
        let removed = TargetRecord { alive: false, state: TargetState::Removed, ..target() };
        check(mrc(), removed, Health::Warning, "no OSD");
    }
}
