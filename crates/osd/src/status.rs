//! What an OSD says of itself: to the DIR, and on the status page.

use std::sync::Arc;

use xtfs_core::units::Bytes;
use xtfs_proto::v1;
use xtfs_rpc::Table;
use xtfs_rpc::registration::Load;

use crate::config::Config;
use crate::target::Target;

/// What every heartbeat tells.
pub(crate) fn load(node: &str, config: &Config, targets: &[Arc<Target>]) -> Load {
    let targets = targets.iter().map(|target| wire_target(node, config, target)).collect();
    Load { targets, mrc: None }
}

fn wire_target(node: &str, config: &Config, target: &Target) -> v1::Target {
    let space = target.space();
    // A device number alone says nothing about other nodes.
    let filesystem = match space.capped {
        true => String::new(),
        false => format!("{node}:{:x}", space.device),
    };
    v1::Target {
        id: target.id.to_wire().into(),
        path: target.path.display().to_string(),
        total_bytes: space.total,
        used_bytes: space.used,
        free_bytes: space.free,
        filesystem,
        zone: config.zone.clone(),
        labels: config.labels.clone().into_iter().collect(),
        boot: target.boot(),
        fault: target.fault(),
    }
}

pub(crate) fn table(targets: &[Arc<Target>]) -> Table {
    let columns = vec![
        "target",
        "path",
        "total",
        "used",
        "free",
        "boot",
        "clients",
        "in flight",
        "running",
        "waiting",
        "fault",
    ];
    let rows = targets.iter().map(|target| {
        let space = target.space();
        vec![
            target.id.to_string(),
            target.path.display().to_string(),
            Bytes(space.total).to_string(),
            Bytes(space.used).to_string(),
            Bytes(space.free).to_string(),
            target.boot().to_string(),
            target.connections.clients().to_string(),
            format!("{} of {}", size(target.budget.taken()), size(target.budget.max())),
            format!("{} of {}", target.workers.running(), crate::workers::WORKERS_MAX),
            target.workers.waiting().to_string(),
            target.fault(),
        ]
    });
    Table { columns, rows: rows.collect() }
}

fn size(bytes: usize) -> Bytes {
    Bytes(bytes as u64)
}
