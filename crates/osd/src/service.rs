//! The requests of `proto/osd.proto`: decode, act, encode.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use xtfs_proto::v1::osd_server::{Osd as OsdService, OsdServer};
use xtfs_proto::{to_status, v1};
use xtfs_rpc::{MESSAGE_BYTES_MAX, answer};

use crate::io;
use crate::ops;
use crate::osd::Osd;
use crate::raw::Requests;

const IO_PATH: &str = "/xtfs.v1.Osd/Io";

#[derive(Clone, Debug)]
pub(crate) struct Service {
    osd: Arc<Osd>,
}

/// The whole service: `Io` beside tonic's codec, everything else by it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    osd: Arc<Osd>,
    unary: OsdServer<Service>,
}

pub(crate) fn service(osd: Arc<Osd>) -> Front {
    let unary = OsdServer::new(Service { osd: Arc::clone(&osd) })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Front { osd, unary }
}

impl NamedService for Front {
    const NAME: &'static str = <OsdServer<Service> as NamedService>::NAME;
}

impl tonic::codegen::Service<http::Request<Body>> for Front {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == IO_PATH {
            let replies = io::serve(&self.osd, Requests::new(request.into_body()));
            return Box::pin(std::future::ready(Ok(replies.into_response())));
        }
        self.unary.call(request)
    }
}

/// Finds the target, hands the decoded rest to an operation, and answers within the deadline.
macro_rules! on_target {
    ($self:ident, $request:ident, $operation:path) => {{
        let wire = $request.into_inner();
        let entered = $self.osd.enter(wire.header.as_ref(), &wire.target);
        let (target, limit) = entered.map_err(to_status)?;
        let deadline = Instant::now() + limit;
        answer(Some(limit), $operation(&$self.osd, &target, wire, deadline)).await
    }};
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OsdService for Service {
    type IoStream = tokio_stream::Empty<Result<v1::IoReply, Status>>;

    /// Never called: `Front` takes it before the codec does.
    async fn io(&self, _request: Request<Streaming<v1::IoRequest>>) -> Answer<Self::IoStream> {
        Err(Status::internal("Io came through the codec"))
    }

    async fn read(&self, request: Request<v1::UnaryIo>) -> Answer<v1::IoReply> {
        on_target!(self, request, ops::unary::io)
    }

    async fn write(&self, request: Request<v1::UnaryIo>) -> Answer<v1::IoReply> {
        on_target!(self, request, ops::unary::io)
    }

    async fn hello(&self, request: Request<v1::HelloRequest>) -> Answer<v1::HelloReply> {
        on_target!(self, request, ops::hello::hello)
    }

    async fn sync(&self, request: Request<v1::SyncRequest>) -> Answer<v1::SyncReply> {
        on_target!(self, request, ops::sync::sync)
    }

    async fn punch(&self, request: Request<v1::PunchRequest>) -> Answer<v1::PunchReply> {
        on_target!(self, request, ops::punch::punch)
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Answer<v1::SealReply> {
        on_target!(self, request, ops::seal::seal)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteReply> {
        on_target!(self, request, ops::delete::delete)
    }

    async fn configure_sets(
        &self,
        request: Request<v1::ConfigureSetsRequest>,
    ) -> Answer<v1::ConfigureSetsReply> {
        on_target!(self, request, ops::configure_sets::configure_sets)
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Answer<v1::StatReply> {
        on_target!(self, request, ops::stat::stat)
    }

    async fn list(&self, request: Request<v1::ListColumnsRequest>) -> Answer<v1::ListColumnsReply> {
        on_target!(self, request, ops::list::list)
    }

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Answer<v1::VerifyReply> {
        on_target!(self, request, ops::verify::verify)
    }
}
