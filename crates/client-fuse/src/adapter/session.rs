//! The connection to the kernel: what is agreed at its start, the event threads, its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::{Config, INodeNo, InitFlags, KernelConfig, Notifier, Session, SessionACL};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use xtfs_client::{Forget, Volume};
use xtfs_core::Ino;

use super::filesystem::Adapter;
use super::{Judge, Settings, Shared};
use crate::device::REQUEST_MAX;

const EVENT_THREADS: usize = 2;
/// Read-ahead and asynchronous direct requests that the kernel keeps in flight.
const BACKGROUND_MAX: u16 = 64;
/// Handles that are closed at once at the end.
const CLOSES_IN_FLIGHT_MAX: usize = 64;

/// Wanted if the kernel offers it. Not here on purpose: WRITEBACK_CACHE, under which the kernel owns size and times and
/// writes cannot be seen; DO_READDIRPLUS, which pays only when names may be kept a while.
const WANTED: [InitFlags; 13] = [
    // What a symbolic link says never changes.
    InitFlags::FUSE_CACHE_SYMLINKS,
    // Under a default ACL the umask does not count: the MRC needs the mode without it.
    InitFlags::FUSE_DONT_MASK,
    // Else one stuck look-up stops all others in its directory.
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Else every write is preceded by a getxattr.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // Handles of NFS survive: look-ups of "." and ".." are answered.
    InitFlags::FUSE_EXPORT_SUPPORT,
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // Locks hold over all mounts.
    InitFlags::FUSE_POSIX_LOCKS,
    InitFlags::FUSE_FLOCK_LOCKS,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
];

/// A connection that is being served.
#[derive(Debug)]
pub(crate) struct Serving {
    shared: Arc<Shared>,
    /// Gets the reason when the connection has ended: unmounted, aborted or failed.
    pub(crate) ended: oneshot::Receiver<io::Result<()>>,
}

/// Answers the kernel's greeting on a mounted device and serves it on threads of its own. Blocks for the greeting.
pub(crate) fn serve(
    device: OwnedFd,
    volume: Arc<Volume>,
    settings: Settings,
    runtime: Handle,
) -> io::Result<Serving> {
    let shared = Arc::new(Shared::new(volume, settings, runtime));
    let mut config = Config::default();
    config.n_threads = Some(EVENT_THREADS);
    config.clone_fd = true;
    // Who may use the mount is the kernel's business: it has allow_other and user_id.
    let adapter = Adapter { shared: Arc::clone(&shared) };
    let session = Session::from_fd(adapter, device, SessionACL::All, config)?;
    let notifier = session.notifier();
    let told = Arc::clone(&shared);
    shared.volume.on_forget(Arc::new(move |ino, what| told.forget(&notifier, ino, what)));
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("xtfs-session".into()).spawn(move || {
        // Nobody listens any more when the process is on its way out.
        let _ = end.send(session.run());
    })?;
    Ok(Serving { shared, ended })
}

pub(super) fn agree(config: &mut KernelConfig, judge: Judge) {
    // Means default_permissions, by ACLs as well as by modes. The kernel forgets an ACL when it asks for attributes,
    // and when it is told to forget the inode, so that it never judges by an old one.
    let acls = (judge == Judge::Both).then_some(InitFlags::FUSE_POSIX_ACL);
    for wanted in WANTED.into_iter().chain(acls) {
        if let Err(missing) = config.add_capabilities(wanted) {
            tracing::info!(?missing, "the kernel does not offer it");
        }
    }
    // A refusal names the nearest value that is possible.
    if let Err(possible) = config.set_max_write(REQUEST_MAX) {
        let _ = config.set_max_write(possible);
    }
    if let Err(possible) = config.set_max_readahead(REQUEST_MAX) {
        let _ = config.set_max_readahead(possible);
    }
    let _ = config.set_max_background(BACKGROUND_MAX);
}

impl Shared {
    /// Has the kernel drop what it keeps of an inode. Attributes go without a lock; for pages it waits for reads and
    /// writes of them under way, which need no other client.
    fn forget(&self, notifier: &Notifier, ino: Ino, what: Forget) {
        let offset = match what {
            Forget::Attributes => -1,
            Forget::All => 0,
        };
        let ino = INodeNo(self.swap_root(ino.0));
        if let Err(error) = notifier.inval_inode(ino, offset, 0) {
            // At the end of the mount there is nobody to tell.
            tracing::debug!(%ino, %error, "the kernel was not told to forget");
        }
    }
}

impl Serving {
    /// Waits for the requests that are under way and closes what the kernel left open.
    pub(crate) async fn finish(&self) {
        self.shared.ending.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let mut handles = self.shared.handles.drain_files().into_iter();
        let mut closing = tokio::task::JoinSet::new();
        loop {
            while closing.len() < CLOSES_IN_FLIGHT_MAX
                && let Some(handle) = handles.next()
            {
                closing.spawn(async move { handle.file.release().await });
            }
            match closing.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => tracing::warn!(%error, "an open file was not closed"),
                Some(Err(error)) => tracing::error!(%error, "closing a file"),
                None => return,
            }
        }
    }
}
