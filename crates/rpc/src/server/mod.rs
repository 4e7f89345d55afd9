//! One port for everything that a process serves: gRPC, health, reflection, metrics, status page.

mod connection;
mod page;
mod request;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use xtfs_core::Error;
use xtfs_proto::{FILE_DESCRIPTOR_SET, to_status};

pub use page::Table;

use crate::metrics::Metrics;

/// Longest time that a unary request is worked on, whatever the client says.
pub const REQUEST_DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Everything that a process serves. Clones are the same server; services may be added before it
/// serves and while it does.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    program: &'static str,
    /// Replaced as a whole when a service is added.
    router: RwLock<axum::Router>,
    /// Full names of services that are not added yet.
    expected: RwLock<Vec<&'static str>>,
    sections: RwLock<Vec<Section>>,
    health: HealthReporter,
    metrics: Metrics,
    in_flight: Arc<Semaphore>,
}

#[derive(Clone)]
struct Section {
    title: &'static str,
    table: Arc<dyn Fn() -> Table + Send + Sync>,
}

impl Server {
    /// A server with health, reflection, metrics and status page, and no services yet. Requests for `services`
    /// (full names, as `xtfs.v1.Mrc`) are told to come again until they are added: a client that waits for a
    /// restarted process may be the first to be accepted, and must not hear that its service is not here.
    pub fn new(program: &'static str, services: &[&'static str]) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were made at compile time");
        let shared = Arc::new(Shared {
            program,
            router: RwLock::default(),
            expected: RwLock::new(services.to_vec()),
            sections: RwLock::default(),
            health,
            metrics: Metrics::new(),
            in_flight: Arc::new(Semaphore::new(request::REQUESTS_IN_FLIGHT_MAX)),
        });
        let server = Server { shared };
        // Weak: the router is part of what it shows.
        let (page, metrics) = (Arc::downgrade(&server.shared), server.metrics().clone());
        let routes = Routes::new(health_service).add_service(reflection).into_axum_router();
        let router = routes
            .route(
                "/",
                get(move || async move {
                    page.upgrade().map(|shared| shared.page()).ok_or(http::StatusCode::GONE)
                }),
            )
            .fallback(async || http::StatusCode::NOT_FOUND)
            .route("/metrics", get(move || async move { metrics_text(&metrics) }));
        *write(&server.shared.router) = router;
        server
    }

    /// Serves `service` from now on. Its health is "serving" until [`Server::set_health`] says else.
    pub async fn add<S>(&self, service: S)
    where
        S: tower::Service<
                http::Request<tonic::body::Body>,
                Response: IntoResponse,
                Error = Infallible,
                Future: Send + 'static,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        {
            let mut router = write(&self.shared.router);
            *router = Routes::from(router.clone()).add_service(service).into_axum_router();
        }
        // After the router: a request finds the one or the other.
        write(&self.shared.expected).retain(|name| *name != S::NAME);
        self.set_health(S::NAME, Health::Serving).await;
    }

    /// A table on the status page; `table` is called for each view.
    pub fn section(&self, title: &'static str, table: impl Fn() -> Table + Send + Sync + 'static) {
        write(&self.shared.sections).push(Section { title, table: Arc::new(table) });
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// What health checks of the service `name` answer.
    pub async fn set_health(&self, name: &str, health: Health) {
        let status = match health {
            Health::Serving => ServingStatus::Serving,
            Health::NotServing => ServingStatus::NotServing,
        };
        self.shared.health.set_service_status(name, status).await;
    }

    /// Serves until `stop`, then lets requests in flight finish for a bounded time. Long-lived
    /// streams are their service's to end: it watches the same token.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        connection::serve(self.shared, listener, stop).await;
    }
}

impl Shared {
    fn page(&self) -> axum::response::Html<String> {
        let sections = read(&self.sections).clone();
        let tables = sections.iter().map(|section| (section.title, (section.table)()));
        axum::response::Html(page::render(self.program, tables))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Serving,
    NotServing,
}

/// How a handler in a `service.rs` answers a unary request: `work` within the time that the client
/// still waits, at most [`REQUEST_DEADLINE_MAX`]. `deadline` is the one of the request's header.
pub async fn answer<T>(
    deadline: Option<Duration>,
    work: impl Future<Output = xtfs_core::Result<T>>,
) -> Result<Response<T>, Status> {
    let limit = deadline.unwrap_or(REQUEST_DEADLINE_MAX).min(REQUEST_DEADLINE_MAX);
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(reply)) => Ok(Response::new(reply)),
        Ok(Err(err)) => Err(to_status(err)),
        Err(_) => Err(to_status(Error::Deadline(format!("not done within {limit:?}")))),
    }
}

fn metrics_text(metrics: &Metrics) -> impl IntoResponse + use<> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(http::header::CONTENT_TYPE, kind)], metrics.text())
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("program", &self.shared.program).finish_non_exhaustive()
    }
}
