//! What operators ask about an OSD. Reads and writes inside `Io` are no requests to gRPC, so they are
//! counted here.

use std::time::Duration;

use xtfs_core::{Error, TargetId};
use xtfs_proto::error_detail;
use xtfs_rpc::prometheus_client::metrics::counter::Counter;
use xtfs_rpc::prometheus_client::metrics::family::Family;
use xtfs_rpc::prometheus_client::metrics::gauge::Gauge;
use xtfs_rpc::prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

type Labels<const N: usize> = [(&'static str, String); N];

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Labels<1>, Counter>,
    bytes: Family<Labels<1>, Counter>,
    seconds: Family<Labels<1>, Histogram>,
    errors: Family<Labels<2>, Counter>,
    corrupt: Family<Labels<1>, Counter>,
    gauges: Family<Labels<2>, Gauge<i64, std::sync::atomic::AtomicI64>>,
}

impl Metrics {
    pub(crate) fn new(process: &xtfs_rpc::Metrics) -> Self {
        // 10 µs to 20 s.
        let buckets = || Histogram::new(exponential_buckets(10e-6, 2.0, 22));
        let metrics = Metrics {
            requests: Family::default(),
            bytes: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            errors: Family::default(),
            corrupt: Family::default(),
            gauges: Family::default(),
        };
        let own = metrics.clone();
        process.register(|registry| {
            let registry = registry.sub_registry_with_prefix("osd");
            registry.register("io", "Reads, writes and syncs answered", own.requests);
            registry.register("io_bytes", "Bytes read and written", own.bytes);
            registry.register("io_seconds", "Time to the answer", own.seconds);
            registry.register("io_errors", "Refused or failed, by reason", own.errors);
            registry.register("corrupt", "Damaged data met, by target", own.corrupt);
            registry.register("target", "State of a target, and its bounds", own.gauges);
        });
        metrics
    }

    pub(crate) fn count_io(
        &self,
        name: &'static str,
        bytes: u64,
        took: Duration,
        err: Option<&Error>,
    ) {
        let op = [("op", name.to_owned())];
        self.requests.get_or_create(&op).inc();
        self.seconds.get_or_create(&op).observe(took.as_secs_f64());
        match err {
            None => {
                self.bytes.get_or_create(&op).inc_by(bytes);
            }
            Some(err) => {
                let error = error_detail(err.clone()).code().as_str_name();
                let labels = [("op", name.to_owned()), ("error", error.to_owned())];
                self.errors.get_or_create(&labels).inc();
            }
        }
    }

    pub(crate) fn corrupt(&self, target: TargetId) {
        self.corrupt.get_or_create(&[("target", target.to_string())]).inc();
    }

    /// Sets the value of one thing about a target.
    pub(crate) fn gauge(&self, target: TargetId, what: &'static str, value: u64) {
        let labels = [("target", target.to_string()), ("what", what.to_owned())];
        self.gauges.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}
