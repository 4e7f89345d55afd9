//! One request: bounded in number and time, counted, and sent to its service.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{Request, Response, StatusCode};
use tonic::{Code, Status};
use tower::ServiceExt;
use xtfs_core::Error;
use xtfs_proto::{error_detail, from_status, to_status};

use super::{REQUEST_DEADLINE_MAX, Shared, read};

/// Requests that are worked on at once in the process; at the bound they are refused as overloaded.
/// A stream counts until its answer begins.
pub(super) const REQUESTS_IN_FLIGHT_MAX: usize = 8192;

pub(super) async fn handle(
    shared: Arc<Shared>,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    if !is_grpc(&request) {
        let router = read(&shared.router).clone();
        return Ok(router.oneshot(request).await.into_response());
    }
    let path = request.uri().path().to_owned();
    let start = Instant::now();
    let response = answer(&shared, request, &path).await;
    let status = Status::from_header_map(response.headers());
    let failed = status.as_ref().filter(|status| status.code() != Code::Ok);
    // A path that no service knows comes from anywhere and must not become a label.
    let known = failed.is_none_or(|status| !is_unserved(status));
    let method = if known { path.trim_start_matches('/') } else { "unknown" };
    let reason = failed.map(|status| error_detail(from_status(status)).code().as_str_name());
    shared.metrics.count(method, reason, start.elapsed());
    Ok(response)
}

async fn answer(shared: &Shared, request: Request<Body>, path: &str) -> Response<Body> {
    let Ok(_permit) = shared.in_flight.try_acquire() else {
        let text = format!("{REQUESTS_IN_FLIGHT_MAX} requests are in work");
        return refuse(Error::Overloaded(text));
    };
    // Before the router is read: a service that is added in between is found.
    let starting = read(&shared.expected).iter().any(|name| belongs(path, name));
    let router = read(&shared.router).clone();
    let answered = tokio::time::timeout(REQUEST_DEADLINE_MAX, router.oneshot(request)).await;
    match answered {
        Ok(answer) => {
            let response = answer.into_response();
            let status = Status::from_header_map(response.headers());
            if response.status() == StatusCode::NOT_FOUND
                || status.as_ref().is_some_and(is_unserved)
            {
                return unserved(path, starting);
            }
            response
        }
        Err(_) => {
            refuse(Error::Deadline(format!("{path} was not done in {REQUEST_DEADLINE_MAX:?}")))
        }
    }
}

/// Whether nobody knows the method. Our own "not supported" has the same code, and details.
fn is_unserved(status: &Status) -> bool {
    status.code() == Code::Unimplemented && status.details().is_empty()
}

fn unserved(path: &str, starting: bool) -> Response<Body> {
    if starting {
        return refuse(Error::Unavailable("the service is starting".into()));
    }
    let text = format!("{path} is not served here; check the address");
    Status::unimplemented(text).into_http::<tonic::body::Body>().map(Body::new)
}

fn refuse(err: Error) -> Response<Body> {
    to_status(err).into_http::<tonic::body::Body>().map(Body::new)
}

fn belongs(path: &str, service: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(service))
        .is_some_and(|rest| rest.starts_with('/'))
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
