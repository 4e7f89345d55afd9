//! What the status page and the metrics show of the DIR.

use std::sync::Arc;

use xtfs_proto::v1;
use xtfs_rpc::prometheus_client::collector::Collector;
use xtfs_rpc::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use xtfs_rpc::prometheus_client::metrics::gauge::ConstGauge;
use xtfs_rpc::{MrcRecord, Server, ServiceList, Table, TargetRecord};

use crate::dir::Dir;

pub(crate) fn show(dir: &Arc<Dir>, server: &Server) {
    let shown = Arc::clone(dir);
    server.section("DIR", move || {
        let fault = shown.fault().map(|err| err.to_string()).unwrap_or_default();
        Table {
            columns: vec!["cluster", "fault"],
            rows: vec![vec![shown.cluster().to_string(), fault]],
        }
    });
    let shown = Arc::clone(dir);
    server.section("Targets", move || targets(&shown));
    let shown = Arc::clone(dir);
    server.section("MRCs", move || mrcs(&shown));
    let shown = Arc::clone(dir);
    server.section("Volumes", move || volumes(&shown));
    let counts = Box::new(Counts(Arc::clone(dir)));
    server.metrics().register(|registry| registry.register_collector(counts));
}

fn list(dir: &Dir) -> ServiceList {
    match dir.list_now(None).and_then(ServiceList::try_from) {
        Ok(list) => list,
        Err(err) => {
            tracing::error!("list for the status page: {err}");
            ServiceList::default()
        }
    }
}

fn targets(dir: &Dir) -> Table {
    let row = |target: TargetRecord| {
        vec![
            target.id.to_string(),
            target.node,
            target.addresses.first().map(ToString::to_string).unwrap_or_default(),
            target.path,
            target.zone,
            target.state.to_string(),
            alive(target.alive, target.heartbeat_age),
            mib(target.total_bytes),
            mib(target.used_bytes),
            mib(target.free_bytes),
            target.fault.unwrap_or_default(),
        ]
    };
    let columns = vec![
        "id", "node", "address", "path", "zone", "state", "alive", "total", "used", "free", "fault",
    ];
    Table { columns, rows: list(dir).targets.into_iter().map(row).collect() }
}

fn mrcs(dir: &Dir) -> Table {
    let row = |mrc: MrcRecord| {
        vec![
            mrc.id.to_string(),
            mrc.group.to_string(),
            mrc.node,
            mrc.addresses.first().map(ToString::to_string).unwrap_or_default(),
            if mrc.leader { "leader".into() } else { String::new() },
            alive(mrc.alive, mrc.heartbeat_age),
            mrc.fault.unwrap_or_default(),
        ]
    };
    let columns = vec!["id", "group", "node", "address", "role", "alive", "fault"];
    Table { columns, rows: list(dir).mrcs.into_iter().map(row).collect() }
}

fn volumes(dir: &Dir) -> Table {
    let rows = list(dir).volumes.into_iter();
    let rows =
        rows.map(|volume| vec![volume.name, volume.id.to_string(), volume.group.to_string()]);
    Table { columns: vec!["name", "id", "group"], rows: rows.collect() }
}

fn alive(alive: bool, age: std::time::Duration) -> String {
    let seconds = age.as_secs();
    if alive { "yes".into() } else { format!("silent for {seconds} s") }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Counted when they are asked for.
#[derive(Debug)]
struct Counts(Arc<Dir>);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(v1::ListReply { targets, mrcs, volumes, .. }) = self.0.list_now(None) else {
            return Ok(());
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let silent_targets = targets.iter().filter(|target| !target.alive).count();
        let silent_mrcs = mrcs.iter().filter(|mrc| !mrc.alive).count();
        for (name, help, value) in [
            ("dir_targets", "Targets registered", targets.len()),
            ("dir_targets_silent", "Targets that are not heard", silent_targets),
            ("dir_mrcs", "MRCs registered", mrcs.len()),
            ("dir_mrcs_silent", "MRCs that are not heard", silent_mrcs),
            ("dir_volumes", "Volumes", volumes.len()),
        ] {
            let gauge = ConstGauge::new(count(value));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
