//! The requests of `proto/osd.proto`: decode, act, encode.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use xtfs_proto::v1::osd_server::{Osd as OsdService, OsdServer};
use xtfs_proto::{to_status, v1};
use xtfs_rpc::{MESSAGE_BYTES_MAX, answer};

use crate::io;
use crate::ops;
use crate::osd::Osd;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    osd: Arc<Osd>,
}

/// Of the gRPC service.
pub(crate) const NAME: &str = <OsdServer<Service> as tonic::server::NamedService>::NAME;

pub(crate) fn service(osd: Arc<Osd>) -> OsdServer<Service> {
    OsdServer::new(Service { osd })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
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
    type IoStream = io::Replies;

    async fn io(&self, request: Request<Streaming<v1::IoRequest>>) -> Answer<Self::IoStream> {
        Ok(Response::new(io::serve(&self.osd, request.into_inner())))
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
