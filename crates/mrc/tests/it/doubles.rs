//! A DIR and targets in memory: they answer as the protocol says, or not at all.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use xtfs_core::{ClusterId, ColumnId, Error, StripeLayout, TargetId};
use xtfs_proto::{to_status, v1};

type Reply<T> = Result<Response<T>, Status>;
type Down<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone, Debug)]
pub(crate) struct Dir {
    pub(crate) cluster: ClusterId,
    pub(crate) targets: Arc<Mutex<Vec<v1::TargetRecord>>>,
    volumes: Arc<Mutex<BTreeMap<String, u64>>>,
    made: Arc<AtomicU32>,
}

impl Dir {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        Dir { cluster, targets: Arc::default(), volumes: Arc::default(), made: Arc::default() }
    }

    pub(crate) fn has_volume(&self, name: &str) -> bool {
        self.volumes.lock().contains_key(name)
    }

    fn list_now(&self) -> v1::ListReply {
        v1::ListReply { targets: self.targets.lock().clone(), ..Default::default() }
    }

    fn keys() -> Vec<v1::Key> {
        vec![v1::Key { id: 1, secret: vec![7; 32].into() }]
    }
}

#[tonic::async_trait]
impl v1::dir_server::Dir for Dir {
    type WatchStream = Down<v1::ListReply>;

    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Reply<v1::DescribeReply> {
        let cluster = self.cluster.to_wire().into();
        Ok(Response::new(v1::DescribeReply { cluster, protocol: 1, ..Default::default() }))
    }

    async fn register(&self, _: Request<v1::RegisterRequest>) -> Reply<v1::RegisterReply> {
        Ok(Response::new(v1::RegisterReply {
            log: None,
            group: 1,
            keys: Dir::keys(),
            heartbeat_ms: 200,
        }))
    }

    async fn heartbeat(&self, _: Request<v1::HeartbeatRequest>) -> Reply<v1::HeartbeatReply> {
        Ok(Response::new(v1::HeartbeatReply { keys: Dir::keys(), ..Default::default() }))
    }

    async fn deregister(&self, _: Request<v1::DeregisterRequest>) -> Reply<v1::DeregisterReply> {
        Ok(Response::new(Default::default()))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Reply<v1::ListReply> {
        Ok(Response::new(self.list_now()))
    }

    async fn watch(&self, _: Request<v1::ListRequest>) -> Reply<Self::WatchStream> {
        let dir = self.clone();
        let ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        let ticks = tokio_stream::wrappers::IntervalStream::new(ticks);
        Ok(Response::new(Box::pin(ticks.map(move |_| Ok(dir.list_now())))))
    }

    async fn set_target_state(
        &self,
        _: Request<v1::SetTargetStateRequest>,
    ) -> Reply<v1::SetTargetStateReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn claim_volume(
        &self,
        request: Request<v1::ClaimVolumeRequest>,
    ) -> Reply<v1::ClaimVolumeReply> {
        let mut volumes = self.volumes.lock();
        let id = *volumes
            .entry(request.into_inner().name)
            .or_insert_with(|| 1 << 32 | u64::from(self.made.fetch_add(1, Ordering::Relaxed) + 1));
        Ok(Response::new(v1::ClaimVolumeReply { log: None, id }))
    }

    async fn release_volume(
        &self,
        request: Request<v1::ReleaseVolumeRequest>,
    ) -> Reply<v1::ReleaseVolumeReply> {
        let request = request.into_inner();
        let mut volumes = self.volumes.lock();
        if volumes.get(&request.name) == Some(&request.id) {
            volumes.remove(&request.name);
        }
        Ok(Response::new(Default::default()))
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Column {
    pub(crate) length: u64,
    pub(crate) file_epoch: u64,
    mtime_ns: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) columns: HashMap<ColumnId, Column>,
    pub(crate) sets: HashMap<u64, u64>,
    pub(crate) silent: bool,
    pub(crate) deletes: usize,
}

/// All targets of the test behind one port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Osds {
    pub(crate) targets: Arc<Mutex<BTreeMap<TargetId, Target>>>,
}

impl Osds {
    /// What a client's write leaves in a column.
    pub(crate) fn write(&self, target: TargetId, column: ColumnId, length: u64, mtime_ns: i64) {
        self.on(target, |target| {
            let column = target.columns.entry(column).or_default();
            column.length = column.length.max(length);
            column.mtime_ns = column.mtime_ns.max(mtime_ns);
        });
    }

    pub(crate) fn on<T>(&self, target: TargetId, act: impl FnOnce(&mut Target) -> T) -> T {
        act(self.targets.lock().get_mut(&target).unwrap())
    }

    pub(crate) fn columns(&self) -> usize {
        self.targets.lock().values().map(|target| target.columns.len()).sum()
    }

    fn answer<T>(&self, wire: &[u8], act: impl FnOnce(&mut Target) -> T) -> Reply<T> {
        let id = TargetId::from_wire(wire).map_err(to_status)?;
        self.on(id, |target| match target.silent {
            true => Err(to_status(Error::Unavailable("silent for the test".into()))),
            false => Ok(Response::new(act(target))),
        })
    }
}

fn stat(id: ColumnId, column: Option<&Column>) -> v1::ColumnStat {
    let known = column.copied().unwrap_or_default();
    v1::ColumnStat {
        column: Some(id.into()),
        length: known.length,
        allocated: known.length.next_multiple_of(4096),
        mtime_ns: known.mtime_ns,
        file_epoch: known.file_epoch,
        exists: column.is_some(),
    }
}

#[tonic::async_trait]
impl v1::osd_server::Osd for Osds {
    type IoStream = Down<v1::IoReply>;

    async fn io(&self, _: Request<Streaming<v1::IoRequest>>) -> Reply<Self::IoStream> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn read(&self, _: Request<v1::UnaryIo>) -> Reply<v1::IoReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn write(&self, _: Request<v1::UnaryIo>) -> Reply<v1::IoReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn hello(&self, _: Request<v1::HelloRequest>) -> Reply<v1::HelloReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn sync(&self, _: Request<v1::SyncRequest>) -> Reply<v1::SyncReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn punch(&self, _: Request<v1::PunchRequest>) -> Reply<v1::PunchReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Reply<v1::SealReply> {
        let seal = request.into_inner();
        let id = ColumnId::try_from(seal.column.unwrap()).unwrap();
        let layout = StripeLayout::try_from(seal.layout.unwrap()).unwrap();
        self.answer(&seal.target, |target| {
            assert_eq!(target.sets.get(&seal.set), Some(&seal.set_epoch), "a set it was not told");
            let column = target.columns.entry(id).or_default();
            if seal.file_epoch > column.file_epoch {
                column.file_epoch = seal.file_epoch;
                if seal.floor != u64::MAX {
                    column.length = column.length.min(layout.column_len(seal.floor, id.index));
                }
            }
            v1::SealReply { stat: Some(stat(id, Some(column))), boot: 1 }
        })
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Reply<v1::DeleteReply> {
        let delete = request.into_inner();
        self.answer(&delete.target, |target| {
            target.deletes += 1;
            for column in delete.columns {
                target.columns.remove(&ColumnId::try_from(column).unwrap());
            }
            for range in delete.never_used {
                let numbers = range.first..range.end;
                target.columns.retain(|id, _| !numbers.contains(&id.data.0));
            }
            v1::DeleteReply { boot: 1 }
        })
    }

    async fn configure_sets(
        &self,
        request: Request<v1::ConfigureSetsRequest>,
    ) -> Reply<v1::ConfigureSetsReply> {
        let configure = request.into_inner();
        self.answer(&configure.target, |target| {
            target.sets.extend(configure.sets.iter().map(|set| (set.set, set.epoch)));
            v1::ConfigureSetsReply {}
        })
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Reply<v1::StatReply> {
        let request = request.into_inner();
        self.answer(&request.target, |target| {
            let columns = request.columns.into_iter().map(|id| ColumnId::try_from(id).unwrap());
            let columns = columns.map(|id| stat(id, target.columns.get(&id))).collect();
            v1::StatReply { columns, boot: 1 }
        })
    }

    async fn list(&self, _: Request<v1::ListColumnsRequest>) -> Reply<v1::ListColumnsReply> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Reply<v1::VerifyReply> {
        Err(Status::unimplemented("not in this test"))
    }
}
