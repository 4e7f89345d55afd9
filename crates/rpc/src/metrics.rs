//! Counters and latencies, as Prometheus reads them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use prometheus_client;

/// The metrics of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<MethodLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    latency: Family<MethodLabels, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    method: String,
    error: String,
}

impl Metrics {
    pub fn new() -> Self {
        // 50 µs to 26 s.
        let buckets = || Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        let metrics = Metrics {
            registry: Arc::new(Mutex::new(Registry::with_prefix("xtfs"))),
            requests: Family::default(),
            errors: Family::default(),
            latency: Family::new_with_constructor(buckets),
        };
        let Metrics { requests, errors, latency, .. } = metrics.clone();
        metrics.register(|registry| {
            registry.register("requests", "Requests answered", requests);
            registry.register("request_errors", "Requests refused or failed, by reason", errors);
            registry.register("request_seconds", "Time to the answer of a request", latency);
        });
        metrics
    }

    /// Where a service adds its own. Names get the prefix `xtfs_`.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry())
    }

    /// In the text format of Prometheus (OpenMetrics).
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("writing to a string does not fail");
        text
    }

    /// `error` is the name of the reason, if it was refused.
    pub(crate) fn count(&self, method: &str, error: Option<&str>, latency: Duration) {
        let labels = MethodLabels { method: method.to_owned() };
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&labels).observe(latency.as_secs_f64());
        if let Some(error) = error {
            let labels = ErrorLabels { method: method.to_owned(), error: error.to_owned() };
            self.errors.get_or_create(&labels).inc();
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
