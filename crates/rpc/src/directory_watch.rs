//! The service list, kept fresh: told by the DIR, kept while no DIR answers, and cached on disk.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use xtfs_core::{ClusterId, Error, Result};
use xtfs_proto::{Header, v1};

use crate::address::Address;
use crate::connect::{call, status_error};
use crate::data_dir::write_atomically;
use crate::directory::Directory;
use crate::service_list::ServiceList;

/// The DIR sends at least this often; a silent stream is given up after three times that.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(5);

const SILENCE_MAX: Duration = Duration::from_secs(15);
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Writes of the cache; the list changes with every heartbeat.
const CACHE_INTERVAL: Duration = Duration::from_secs(60);

/// The last list that the DIR has sent. Dropping it ends the watching.
#[derive(Debug)]
pub struct DirectoryWatch {
    list: watch::Receiver<Arc<ServiceList>>,
    stop: CancellationToken,
    _task: JoinHandle<()>,
}

impl DirectoryWatch {
    /// Waits until there is a list, from the DIR or, if none answers in `deadline`, from `cache`, a
    /// file that this keeps up to date.
    pub async fn start(
        directory: Directory,
        cluster: ClusterId,
        cache: Option<PathBuf>,
        deadline: Duration,
    ) -> Result<Self> {
        let first = match directory.list_wire(cluster, deadline).await {
            Ok(list) => {
                write_cache(cache.as_deref(), cluster, &list);
                list
            }
            Err(err) if err.is_retryable() => {
                let cached = cache.as_deref().and_then(|path| read_cache(path, cluster));
                let cached = cached.ok_or_else(|| err.clone())?;
                tracing::warn!("using the cached service list: {err}");
                cached
            }
            Err(err) => return Err(err),
        };
        let (sender, list) = watch::channel(Arc::new(first.try_into()?));
        let stop = CancellationToken::new();
        let watcher = Watcher { directory, cluster, cache, cached_at: Instant::now(), sender };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = watcher.run() => {}
            }
        });
        Ok(DirectoryWatch { list, stop, _task: task })
    }

    pub fn current(&self) -> Arc<ServiceList> {
        self.list.borrow().clone()
    }

    /// Sees every change, or the newest of several.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServiceList>> {
        self.list.clone()
    }
}

impl Drop for DirectoryWatch {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Watcher {
    directory: Directory,
    cluster: ClusterId,
    cache: Option<PathBuf>,
    cached_at: Instant,
    sender: watch::Sender<Arc<ServiceList>>,
}

impl Watcher {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        let mut reported = false;
        loop {
            for member in self.directory.members().to_vec() {
                let start = Instant::now();
                let Err(err) = self.follow(&member).await;
                if start.elapsed() > OPEN_DEADLINE {
                    (pause, reported) = (PAUSE_MIN, false);
                }
                if !reported {
                    tracing::warn!("watch the DIR at {member}: {err}; going on with the last list");
                }
            }
            reported = true;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes lists from one member until its stream ends.
    async fn follow(&mut self, member: &Address) -> Result<Infallible> {
        let mut dir = self.directory.connector().dir(member);
        let header = Header::new(Some(self.cluster)).into();
        let request = v1::ListRequest { header: Some(header) };
        let mut stream = call(OPEN_DEADLINE, dir.watch(request)).await?;
        loop {
            let silent = |_| Error::Deadline("the DIR is silent".into());
            let message = timeout(SILENCE_MAX, stream.message()).await.map_err(silent)?;
            let Some(list) = message.map_err(|status| status_error(&status))? else {
                return Err(Error::Unavailable("the DIR has ended the stream".into()));
            };
            self.take(list)?;
        }
    }

    fn take(&mut self, wire: v1::ListReply) -> Result<()> {
        let list = Arc::new(ServiceList::try_from(wire.clone())?);
        let grown = {
            let old = self.sender.borrow();
            old.targets.len() != list.targets.len()
                || old.mrcs.len() != list.mrcs.len()
                || old.volumes.len() != list.volumes.len()
        };
        if grown || self.cached_at.elapsed() >= CACHE_INTERVAL {
            write_cache(self.cache.as_deref(), self.cluster, &wire);
            self.cached_at = Instant::now();
        }
        self.sender.send_replace(list);
        Ok(())
    }
}

/// The file is the cluster's id and the encoded list.
fn write_cache(path: Option<&Path>, cluster: ClusterId, list: &v1::ListReply) {
    let Some(path) = path else { return };
    let mut bytes = cluster.to_wire();
    list.encode(&mut bytes).expect("a vector grows");
    if let Err(err) = write_atomically(path, &bytes) {
        tracing::warn!("cache the service list in {}: {err}", path.display());
    }
}

fn read_cache(path: &Path, cluster: ClusterId) -> Option<v1::ListReply> {
    let bytes = std::fs::read(path).ok()?;
    let list = bytes.strip_prefix(cluster.to_wire().as_slice())?;
    let mut list = v1::ListReply::decode(list).ok()?;
    // Nobody has been heard of by this process yet; liveness of then says nothing.
    for target in &mut list.targets {
        target.alive = true;
    }
    for mrc in &mut list.mrcs {
        mrc.alive = true;
    }
    Some(list)
}
