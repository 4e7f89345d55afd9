//! The requests to the MRC as types, so that one function sends them all, again if need be.

use std::fmt::Debug;
use std::pin::Pin;

use tonic::{Response, Status};
use xtfs_core::Ino;
use xtfs_proto::v1;
use xtfs_rpc::MrcService;

pub(crate) type Sending<T> =
    Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'static>>;

pub(crate) trait Method: Debug + Send + Sync + 'static {
    type Request: Clone + Debug + Send + Sync + 'static;
    type Reply: Reply;

    const NAME: &'static str;
    /// A restarted MRC that has lost it gets it again (P2).
    const SENT_AGAIN: bool = true;

    /// Notes in the request that it is not sent for the first time.
    fn mark(_request: &mut Self::Request, _again: Again) {}

    fn send(
        service: MrcService,
        request: Self::Request,
        header: v1::RequestHeader,
    ) -> Sending<Self::Reply>;
}

/// Why a request is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Nobody knows what came of it.
    Repeated,
    /// It was answered, and a restarted MRC has lost it.
    Lost,
}

pub(crate) trait Reply: Send + 'static {
    fn log(&self) -> Option<v1::LogStatus>;

    /// The inode that the answer names: sent again after a loss it must be the same.
    fn ino(&self) -> Option<Ino> {
        None
    }

    /// The same of the data number of its layout.
    fn data(&self) -> Option<u64> {
        None
    }
}

macro_rules! methods {
    ($($name:ident = $call:ident($request:ident) -> $reply:ident;)*) => {$(
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Method for $name {
            type Request = v1::$request;
            type Reply = v1::$reply;

            const NAME: &'static str = stringify!($call);

            fn send(
                mut service: MrcService,
                mut request: v1::$request,
                header: v1::RequestHeader,
            ) -> Sending<v1::$reply> {
                request.header = Some(header);
                Box::pin(async move { service.$call(request).await })
            }
        }
    )*};
}

macro_rules! replies {
    ($($reply:ident),*) => {$(
        impl Reply for v1::$reply {
            fn log(&self) -> Option<v1::LogStatus> {
                self.log
            }
        }
    )*};
}

macro_rules! replies_with_attributes {
    ($($reply:ident $({ $data:item })?),*) => {$(
        impl Reply for v1::$reply {
            fn log(&self) -> Option<v1::LogStatus> {
                self.log
            }

            $($data)?

            fn ino(&self) -> Option<Ino> {
                self.attributes.as_ref().map(|attributes| Ino(attributes.ino))
            }
        }
    )*};
}

/// Gets the turn to append.
#[derive(Debug)]
pub(crate) struct BeginAppend;

impl Method for BeginAppend {
    type Request = v1::BeginAppendRequest;
    type Reply = v1::InodeReply;

    const NAME: &'static str = "begin_append";
    // It may be another client's turn by now, and nothing else of ours may wait for that.
    const SENT_AGAIN: bool = false;

    fn send(
        mut service: MrcService,
        mut request: v1::BeginAppendRequest,
        header: v1::RequestHeader,
    ) -> Sending<v1::InodeReply> {
        request.header = Some(header);
        Box::pin(async move { service.begin_append(request).await })
    }
}

#[derive(Debug)]
pub(crate) struct Lock;

impl Method for Lock {
    type Request = v1::LockRequest;
    type Reply = v1::LockReply;

    const NAME: &'static str = "lock";

    fn mark(request: &mut v1::LockRequest, again: Again) {
        request.set_attempt(match again {
            Again::Repeated => v1::LockAttempt::Repeated,
            Again::Lost => v1::LockAttempt::Lost,
        });
    }

    fn send(
        mut service: MrcService,
        mut request: v1::LockRequest,
        header: v1::RequestHeader,
    ) -> Sending<v1::LockReply> {
        request.header = Some(header);
        Box::pin(async move { service.lock(request).await })
    }
}

methods! {
    OpenSession = open_session(OpenSessionRequest) -> OpenSessionReply;
    CloseSession = close_session(CloseSessionRequest) -> DoneReply;
    Lookup = lookup(LookupRequest) -> InodeReply;
    GetAttr = get_attr(GetAttrRequest) -> InodeReply;
    SetAttr = set_attr(SetAttrRequest) -> InodeReply;
    Mknod = mknod(MknodRequest) -> InodeReply;
    Mkdir = mkdir(MkdirRequest) -> InodeReply;
    Symlink = symlink(SymlinkRequest) -> InodeReply;
    Readlink = readlink(InodeRequest) -> ReadlinkReply;
    Link = link(LinkRequest) -> InodeReply;
    Unlink = unlink(UnlinkRequest) -> DoneReply;
    Rmdir = rmdir(UnlinkRequest) -> DoneReply;
    Rename = rename(RenameRequest) -> DoneReply;
    ReadDir = read_dir(ReadDirRequest) -> ReadDirReply;
    Statfs = statfs(VolumeRequest) -> StatfsReply;
    Access = access(AccessRequest) -> DoneReply;
    Create = create(CreateRequest) -> OpenReply;
    Open = open(OpenRequest) -> OpenReply;
    Renew = renew(RenewRequest) -> OpenReply;
    Close = close(CloseRequest) -> DoneReply;
    Touch = touch(TouchRequest) -> DoneReply;
    EndAppend = end_append(EndAppendRequest) -> DoneReply;
    SyncMetadata = sync(SyncMetadataRequest) -> DoneReply;
    TestLock = test_lock(LockRequest) -> TestLockReply;
    WaitLock = wait_lock(LockRequest) -> WaitLockReply;
    GetXattr = get_xattr(GetXattrRequest) -> XattrReply;
    SetXattr = set_xattr(SetXattrRequest) -> DoneReply;
    ListXattr = list_xattr(InodeRequest) -> ListXattrReply;
    RemoveXattr = remove_xattr(RemoveXattrRequest) -> DoneReply;
    Where = r#where(InodeRequest) -> WhereReply;
    SetDefaultLayout = set_default_layout(SetDefaultLayoutRequest) -> InodeReply;
    PathOf = path_of(InodeRequest) -> PathReply;
}

replies! {
    DoneReply, OpenSessionReply, ReadlinkReply, ReadDirReply, StatfsReply, XattrReply,
    ListXattrReply, PathReply, TestLockReply, WaitLockReply
}

impl Reply for v1::LockReply {
    fn log(&self) -> Option<v1::LogStatus> {
        self.log
    }

    /// If it is refused when it is sent again, somebody else has the lock: the handles must not go on.
    fn ino(&self) -> Option<Ino> {
        Some(Ino(self.ino))
    }
}

replies_with_attributes! {
    InodeReply,
    WhereReply,
    OpenReply {
        fn data(&self) -> Option<u64> {
            self.layout.as_ref().map(|layout| layout.data)
        }
    }
}
