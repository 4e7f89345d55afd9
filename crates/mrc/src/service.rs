//! The gRPC service: decode, act, encode.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use xtfs_core::{Error, RequestNumber, Result, SessionId};
use xtfs_proto::{Header, to_status, v1};

use crate::mrc::{Asker, Mrc};
use crate::ops;
use crate::state::Origin;

/// Longest time that a request is worked on.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Service {
    mrc: Arc<Mrc>,
}

/// A request as admitted: who asks, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) header: Header,
    pub(crate) deadline: Instant,
}

impl Call {
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn asker(&self) -> Asker {
        let Header { session, number, lowest_unanswered, .. } = self.header;
        let is_numbered = session != SessionId(0) && number != RequestNumber(0);
        let origin = is_numbered.then_some(Origin { session, number, lowest_unanswered });
        Asker { caller: self.header.caller.clone().into(), origin }
    }
}

impl Service {
    pub fn new(mrc: Arc<Mrc>) -> Self {
        Service { mrc }
    }

    /// Admits the request and lets `act` answer it within its deadline.
    async fn serve<Q: Headed, R, F>(
        &self,
        request: Request<Q>,
        act: impl FnOnce(Arc<Mrc>, Call, Q) -> F,
    ) -> Result<Response<R>, Status>
    where
        R: Send + 'static,
        F: Future<Output = Result<R>> + Send + 'static,
    {
        let (call, limit, message) = taken_apart(request).map_err(to_status)?;
        let slot = self.mrc.admit(&call.header).map_err(to_status)?;
        let act = act(self.mrc.clone(), call, message);
        // To its end, whoever still waits for the answer: a command that is on its way is carried out, and until then
        // what it changes must stay excluded.
        let acting = self.mrc.tasks.spawn(async move {
            let _slot = slot;
            act.await
        });
        let ended =
            async { acting.await.unwrap_or_else(|err| Err(Error::Internal(err.to_string()))) };
        xtfs_rpc::answer(Some(limit), ended).await
    }

    /// The same for what waits for other clients: it takes no slot from them.
    async fn serve_waiting<Q: Headed, R, F>(
        &self,
        request: Request<Q>,
        act: impl FnOnce(Arc<Mrc>, Call, Q) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<R>>,
    {
        let (call, limit, message) = taken_apart(request).map_err(to_status)?;
        self.mrc.admit_waiting(&call.header).map_err(to_status)?;
        xtfs_rpc::answer(Some(limit), act(self.mrc.clone(), call, message)).await
    }
}

fn taken_apart<Q: Headed>(request: Request<Q>) -> Result<(Call, Duration, Q)> {
    let mut message = request.into_inner();
    let header = Header::try_from(message.take_header())?;
    let limit = header.deadline.map_or(DEADLINE_MAX, |asked| asked.min(DEADLINE_MAX));
    Ok((Call { header, deadline: Instant::now() + limit }, limit, message))
}

/// A request with a header.
trait Headed {
    fn take_header(&mut self) -> Option<v1::RequestHeader>;
}

macro_rules! headed {
    ($($message:ident),* $(,)?) => {
        $(impl Headed for v1::$message {
            fn take_header(&mut self) -> Option<v1::RequestHeader> {
                self.header.take()
            }
        })*
    };
}

headed!(
    AccessRequest,
    BeginAppendRequest,
    CloseRequest,
    CloseSessionRequest,
    CreateRequest,
    CreateVolumeRequest,
    DeleteVolumeRequest,
    EndAppendRequest,
    GetXattrRequest,
    GetAttrRequest,
    InodeRequest,
    LinkRequest,
    LockRequest,
    ListVolumesRequest,
    LookupRequest,
    MkdirRequest,
    MknodRequest,
    OpenRequest,
    OpenSessionRequest,
    ReadDirRequest,
    RemoveXattrRequest,
    RenameRequest,
    RenewRequest,
    ScanRequest,
    SetAttrRequest,
    SetDefaultLayoutRequest,
    SetVolumeRequest,
    SetXattrRequest,
    StatusRequest,
    SymlinkRequest,
    SyncMetadataRequest,
    TouchRequest,
    UnlinkRequest,
    VolumeRequest,
);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl v1::mrc_server::Mrc for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionDown, Status>> + Send>>;

    async fn create_volume(&self, r: Request<v1::CreateVolumeRequest>) -> Reply<v1::VolumeReply> {
        self.serve(r, ops::create_volume).await
    }

    async fn delete_volume(&self, r: Request<v1::DeleteVolumeRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::delete_volume).await
    }

    async fn list_volumes(
        &self,
        r: Request<v1::ListVolumesRequest>,
    ) -> Reply<v1::ListVolumesReply> {
        self.serve(r, ops::list_volumes).await
    }

    async fn set_volume(&self, r: Request<v1::SetVolumeRequest>) -> Reply<v1::VolumeReply> {
        self.serve(r, ops::set_volume).await
    }

    async fn open_session(
        &self,
        r: Request<v1::OpenSessionRequest>,
    ) -> Reply<v1::OpenSessionReply> {
        self.serve(r, ops::open_session).await
    }

    async fn close_session(&self, r: Request<v1::CloseSessionRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::close_session).await
    }

    async fn session(&self, r: Request<Streaming<v1::SessionUp>>) -> Reply<Self::SessionStream> {
        let down = ops::session(self.mrc.clone(), r.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(Box::pin(down)))
    }

    async fn lookup(&self, r: Request<v1::LookupRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::lookup).await
    }

    async fn get_attr(&self, r: Request<v1::GetAttrRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::get_attr).await
    }

    async fn set_attr(&self, r: Request<v1::SetAttrRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::set_attr).await
    }

    async fn mknod(&self, r: Request<v1::MknodRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::mknod).await
    }

    async fn mkdir(&self, r: Request<v1::MkdirRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::mkdir).await
    }

    async fn symlink(&self, r: Request<v1::SymlinkRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::symlink).await
    }

    async fn readlink(&self, r: Request<v1::InodeRequest>) -> Reply<v1::ReadlinkReply> {
        self.serve(r, ops::readlink).await
    }

    async fn link(&self, r: Request<v1::LinkRequest>) -> Reply<v1::InodeReply> {
        self.serve(r, ops::link).await
    }

    async fn unlink(&self, r: Request<v1::UnlinkRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::unlink).await
    }

    async fn rmdir(&self, r: Request<v1::UnlinkRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::rmdir).await
    }

    async fn rename(&self, r: Request<v1::RenameRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::rename).await
    }

    async fn read_dir(&self, r: Request<v1::ReadDirRequest>) -> Reply<v1::ReadDirReply> {
        self.serve(r, ops::read_dir).await
    }

    async fn statfs(&self, r: Request<v1::VolumeRequest>) -> Reply<v1::StatfsReply> {
        self.serve(r, ops::statfs).await
    }

    async fn access(&self, r: Request<v1::AccessRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::access).await
    }

    async fn create(&self, r: Request<v1::CreateRequest>) -> Reply<v1::OpenReply> {
        self.serve(r, ops::create).await
    }

    async fn open(&self, r: Request<v1::OpenRequest>) -> Reply<v1::OpenReply> {
        self.serve(r, ops::open).await
    }

    async fn renew(&self, r: Request<v1::RenewRequest>) -> Reply<v1::OpenReply> {
        self.serve(r, ops::renew).await
    }

    async fn close(&self, r: Request<v1::CloseRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::close).await
    }

    async fn touch(&self, r: Request<v1::TouchRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::touch).await
    }

    async fn begin_append(&self, r: Request<v1::BeginAppendRequest>) -> Reply<v1::InodeReply> {
        self.serve_waiting(r, ops::begin_append).await
    }

    async fn end_append(&self, r: Request<v1::EndAppendRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::end_append).await
    }

    async fn sync(&self, r: Request<v1::SyncMetadataRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::sync).await
    }

    async fn lock(&self, r: Request<v1::LockRequest>) -> Reply<v1::LockReply> {
        self.serve(r, ops::lock).await
    }

    async fn test_lock(&self, r: Request<v1::LockRequest>) -> Reply<v1::TestLockReply> {
        self.serve(r, ops::test_lock).await
    }

    async fn wait_lock(&self, r: Request<v1::LockRequest>) -> Reply<v1::WaitLockReply> {
        self.serve_waiting(r, ops::wait_lock).await
    }

    async fn get_xattr(&self, r: Request<v1::GetXattrRequest>) -> Reply<v1::XattrReply> {
        self.serve(r, ops::get_xattr).await
    }

    async fn set_xattr(&self, r: Request<v1::SetXattrRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::set_xattr).await
    }

    async fn list_xattr(&self, r: Request<v1::InodeRequest>) -> Reply<v1::ListXattrReply> {
        self.serve(r, ops::list_xattr).await
    }

    async fn remove_xattr(&self, r: Request<v1::RemoveXattrRequest>) -> Reply<v1::DoneReply> {
        self.serve(r, ops::remove_xattr).await
    }

    async fn r#where(&self, r: Request<v1::InodeRequest>) -> Reply<v1::WhereReply> {
        self.serve(r, ops::where_is).await
    }

    async fn set_default_layout(
        &self,
        r: Request<v1::SetDefaultLayoutRequest>,
    ) -> Reply<v1::InodeReply> {
        self.serve(r, ops::set_default_layout).await
    }

    async fn scan(&self, r: Request<v1::ScanRequest>) -> Reply<v1::ScanReply> {
        self.serve(r, ops::scan).await
    }

    async fn path_of(&self, r: Request<v1::InodeRequest>) -> Reply<v1::PathReply> {
        self.serve(r, ops::path_of).await
    }

    async fn status(&self, r: Request<v1::StatusRequest>) -> Reply<v1::StatusReply> {
        self.serve(r, ops::status).await
    }
}
