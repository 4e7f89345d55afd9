//! The DIR on the wire: decode, act, encode.

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use xtfs_core::{GroupId, InstanceId, TargetId, VolumeId};
use xtfs_proto::v1::dir_server;
use xtfs_proto::{Header, to_status, v1};
use xtfs_rpc::{TargetState, answer};

use crate::dir::Dir;
use crate::watch;
use crate::wire::{self, Registrant};

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) dir: Arc<Dir>,
    pub(crate) stop: CancellationToken,
    /// The streams that [`Dir::run`] does not know of.
    pub(crate) streams: TaskTracker,
}

#[tonic::async_trait]
impl dir_server::Dir for Service {
    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeReply>, Status> {
        let reached_at = request.local_addr();
        Header::try_from(request.into_inner().header).map_err(to_status)?;
        Ok(Response::new(self.dir.describe(reached_at)))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let peer = request.remote_addr().map(|at| at.ip());
        let mut request = request.into_inner();
        let header = self.dir.admit(request.header.take()).map_err(to_status)?;
        let who = Registrant::try_from(request).map_err(to_status)?;
        answer(header.deadline, self.dir.register(who, peer)).await
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatReply>, Status> {
        let request = request.into_inner();
        let header = self.dir.admit(request.header).map_err(to_status)?;
        let work = async {
            let instance = InstanceId::from_wire(&request.instance)?;
            self.dir.heartbeat(instance, wire::report(request.targets, request.mrc)?)
        };
        answer(header.deadline, work).await
    }

    async fn deregister(
        &self,
        request: Request<v1::DeregisterRequest>,
    ) -> Result<Response<v1::DeregisterReply>, Status> {
        let request = request.into_inner();
        self.dir.admit(request.header).map_err(to_status)?;
        let instance = InstanceId::from_wire(&request.instance).map_err(to_status)?;
        Ok(Response::new(self.dir.deregister(instance)))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListReply>, Status> {
        let reached_at = request.local_addr();
        let header = self.dir.admit(request.into_inner().header).map_err(to_status)?;
        answer(header.deadline, self.dir.list(reached_at)).await
    }

    type WatchStream = ReceiverStream<Result<v1::ListReply, Status>>;

    async fn watch(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let reached_at = request.local_addr();
        self.dir.admit(request.into_inner().header).map_err(to_status)?;
        let stream = watch::start(&self.dir, reached_at, &self.streams, self.stop.clone());
        stream.map(Response::new).map_err(to_status)
    }

    async fn set_target_state(
        &self,
        request: Request<v1::SetTargetStateRequest>,
    ) -> Result<Response<v1::SetTargetStateReply>, Status> {
        let request = request.into_inner();
        let state = TargetState::try_from(request.state()).map_err(to_status)?;
        let header = self.dir.admit(request.header).map_err(to_status)?;
        let target = TargetId::from_wire(&request.target).map_err(to_status)?;
        answer(header.deadline, self.dir.set_target_state(target, state)).await
    }

    async fn claim_volume(
        &self,
        request: Request<v1::ClaimVolumeRequest>,
    ) -> Result<Response<v1::ClaimVolumeReply>, Status> {
        let request = request.into_inner();
        let header = self.dir.admit(request.header).map_err(to_status)?;
        let claimed = self.dir.claim_volume(request.name, GroupId(request.group));
        answer(header.deadline, claimed).await
    }

    async fn release_volume(
        &self,
        request: Request<v1::ReleaseVolumeRequest>,
    ) -> Result<Response<v1::ReleaseVolumeReply>, Status> {
        let request = request.into_inner();
        let header = self.dir.admit(request.header).map_err(to_status)?;
        let released = self.dir.release_volume(request.name, VolumeId(request.id));
        answer(header.deadline, released).await
    }
}
