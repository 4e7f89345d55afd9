//! Connections: accepted up to a bound, HTTP/1 or HTTP/2 by their first bytes, drained at the stop.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{Shared, request};
use crate::connect::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    STREAM_WINDOW_BYTES,
};

/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
/// Requests and streams at once on one connection; the client holds back more.
const STREAMS_PER_CONNECTION_MAX: u32 = 2048;
/// A connection that sends nothing at first, or no whole HTTP/1 head, is closed after this.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take to finish after the stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// After an accept that failed, as out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, stop: CancellationToken) {
    let builder = Arc::new(builder());
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned();
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (slot, stream) = match accepted {
            (Ok(slot), Ok((stream, _peer))) => (slot, stream),
            (_, Err(err)) => {
                tracing::warn!("accept a connection: {err}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            (Err(_closed), _) => break,
        };
        let (shared, builder, stop) = (shared.clone(), builder.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(shared, &builder, stream, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::info!("closing {} connections that did not finish", connections.len());
        connections.shutdown().await;
    }
}

async fn serve_connection(
    shared: Arc<Shared>,
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    stop: CancellationToken,
) {
    let mut first = [0];
    let speaks = tokio::select! {
        () = stop.cancelled() => false,
        peeked = tokio::time::timeout(FIRST_BYTES_TIMEOUT, stream.peek(&mut first)) => {
            matches!(peeked, Ok(Ok(1)))
        }
    };
    if !speaks {
        return;
    }
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!("set TCP_NODELAY: {err}");
    }
    let info = stream.connect_info();
    let peer = info.remote_addr();
    let service = tower::service_fn(move |request: Request<_>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(info.clone());
        request::handle(shared.clone(), request)
    });
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = result {
        // Whoever sent garbage, or went away: nothing of ours is broken.
        tracing::debug!(?peer, "connection ended: {err}");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_BYTES_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    builder
}
