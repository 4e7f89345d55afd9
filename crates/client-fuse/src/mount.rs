//! One mount from its start to its end: connect, mount, serve until it is unmounted or told to stop, flush, leave.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::UnmountFlags;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use xtfs_client::{Caller, Client, Volume};
use xtfs_core::Error;

use crate::adapter::{self, Judge, Serving, Settings};
use crate::daemon::Status;
use crate::device;
use crate::failure::{ExitKind, Failure};
use crate::mountpoint::{self, Mountpoint};
use crate::mounts::{self, Device};
use crate::options::MountRequest;

mod log;

const WORKER_THREADS: usize = 2;
/// What the kernel reads ahead, in KiB; its own 128 would make small requests.
const READ_AHEAD_KIB: u32 = 1024;

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

/// A mount that answers.
struct Mounted {
    volume: Arc<Volume>,
    serving: Serving,
    mountpoint: PathBuf,
    device: Option<Device>,
    /// Locked for as long as this process lives; umount.xtfs waits for that.
    pid_file: Option<(PathBuf, OwnedFd)>,
}

/// Mounts and serves; returns when all is over.
pub(crate) fn run(mut request: MountRequest, status: Status) -> Result<(), Failure> {
    log::start(&request, &status)?;
    let root = rustix::process::geteuid().is_root();
    // What root mounts is a file system of the machine.
    request.options.allow_other |= root;
    if request.options.remount {
        return remount(&request);
    }
    let nonempty = request.options.nonempty;
    let place = mountpoint::prepare(&request.mountpoint, &request.source, nonempty)?;
    if request.fake {
        return Ok(());
    }
    // The directory that we were started in may be unmounted under us.
    std::env::set_current_dir("/").map_err(|error| {
        Failure::system(format!("cannot change to /: {error}"), "start it from elsewhere")
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("xtfs-client")
        .enable_all()
        .build()
        .map_err(|error| Failure::system(format!("no threads: {error}"), "free some memory"))?;
    let result = runtime.block_on(live(&request, &place, &status));
    // Tasks that still wait for a dead server would hold the process; their requests have no one to answer.
    runtime.shutdown_background();
    result
}

async fn live(request: &MountRequest, place: &Mountpoint, status: &Status) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let mounted = tokio::select! {
        mounted = start(request, place) => mounted?,
        () = stop.called() => {
            // Not ours to unmount unless our mount got so far.
            if mounts::topmost(&place.path).ok().flatten().is_some_and(|top| {
                top.is_ours() && top.source == *request.source
            }) {
                let _ = mountpoint::unmount(&place.path, UnmountFlags::DETACH);
            }
            return Err(Failure::new(ExitKind::Interrupted, "interrupted", "nothing is mounted"));
        }
    };
    if status.ready().is_err() {
        tracing::warn!("whoever asked for the mount is gone, it is taken away");
        return mounted.end(request.options.timeo).await;
    }
    tracing::info!(source = %request.spec, mountpoint = %place.path.display(), "mounted");
    mounted.until_end(&mut stop, request.options.timeo).await
}

async fn start(request: &MountRequest, place: &Mountpoint) -> Result<Mounted, Failure> {
    let options = &request.options;
    let root = rustix::process::geteuid().is_root();
    let client_options = xtfs_client::Options {
        timeo: options.timeo,
        read_only: options.read_only(),
        cache_dir: options.cache_dir.clone().or_else(|| usual_cache_dir(root)),
        description: description(&place.path),
    };
    let volume = Client::mount(request.spec.clone(), client_options).await;
    let volume = volume.map_err(|error| not_connected(request, &error))?;
    let source = request.source.clone();
    let (path, mount_options) = (place.path.clone(), options.clone());
    let settings = Settings {
        direct_io: options.direct_io,
        sync: options.flags.contains(rustix::mount::MountFlags::SYNCHRONOUS),
        judge: if volume.chown_non_root() { Judge::MrcAlone } else { Judge::Both },
    };
    let served = Arc::clone(&volume);
    let runtime = Handle::current();
    let serving = blocking(move || {
        let device = device::mount(&source, &path, &mount_options, settings.judge)?;
        adapter::serve(device, served, settings, runtime).map_err(|error| {
            let _ = mountpoint::unmount(&path, UnmountFlags::DETACH);
            Failure::system(format!("the kernel's greeting: {error}"), "dmesg may say more")
        })
    })
    .await?;
    let mut mounted =
        Mounted { volume, serving, mountpoint: place.path.clone(), device: None, pid_file: None };
    mounted.device = mounts::topmost(&place.path)
        .ok()
        .flatten()
        .filter(mounts::MountEntry::is_ours)
        .map(|entry| entry.device);
    match mounted.answers(place, options.timeo).await {
        Ok(()) => {
            mounted.settle();
            Ok(mounted)
        }
        Err(failure) => {
            // The first failure is the one to tell.
            let _ = mounted.end(options.timeo).await;
            Err(failure)
        }
    }
}

impl Mounted {
    /// Whether a stat of the mountpoint is answered by us.
    async fn answers(&self, place: &Mountpoint, timeo: Duration) -> Result<(), Failure> {
        let shown = place.path.display();
        let no = |why: String| {
            let hint = "xtfs status names what is missing";
            Failure::mount(format!("{shown} is mounted but does not answer: {why}"), hint)
        };
        if place.autofs {
            // A walk there waits until this program has returned: ask behind the kernel's back.
            let asked = self.volume.getattr(&Caller::ROOT, self.volume.root()).await;
            return asked.map(drop).map_err(|error| no(error.to_string()));
        }
        let path = place.path.clone();
        let looked = blocking(move || {
            rustix::fs::stat(&path).map_err(|errno| Failure::mount(errno.to_string(), ""))
        });
        // The client's own deadline comes first; this one is for what it does not know of.
        let stat = match tokio::time::timeout(timeo * 2, looked).await {
            Ok(Ok(stat)) => stat,
            Ok(Err(failure)) => return Err(no(failure.cause)),
            Err(_) => return Err(no("no answer in time".into())),
        };
        let device =
            Device { major: rustix::fs::major(stat.st_dev), minor: rustix::fs::minor(stat.st_dev) };
        if self.device == Some(device) {
            Ok(())
        } else {
            Err(no("another file system lies over it".into()))
        }
    }

    /// What a mount has besides; it works without.
    fn settle(&mut self) {
        let Some(device) = self.device else { return };
        let read_ahead = format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.major, device.minor);
        if let Err(error) = std::fs::write(read_ahead, READ_AHEAD_KIB.to_string()) {
            tracing::debug!(%error, "read-ahead stays as it is");
        }
        let path = device.pid_file(rustix::process::geteuid().as_raw());
        match write_pid_file(&path) {
            Ok(lock) => self.pid_file = Some((path, lock)),
            Err(error) => tracing::warn!(path = %path.display(), %error, "no process id file"),
        }
    }

    async fn until_end(mut self, stop: &mut Stop, timeo: Duration) -> Result<(), Failure> {
        tokio::select! {
            ended = &mut self.serving.ended => {
                match ended {
                    Ok(Ok(())) => tracing::info!("unmounted"),
                    Ok(Err(error)) => tracing::error!(%error, "the connection to the kernel broke"),
                    Err(_) => tracing::error!("the thread that serves the kernel is gone"),
                }
            }
            () = stop.called() => tracing::info!("told to stop"),
        }
        self.end(timeo).await
    }

    /// Unmounts if need be, and returns when everything written has reached MRC and OSDs.
    async fn end(mut self, timeo: Duration) -> Result<(), Failure> {
        self.unmount().await;
        // Requests under way end by their own deadlines; processes that still have files open here get errors.
        if tokio::time::timeout(timeo * 2, self.serving.finish()).await.is_err() {
            tracing::warn!("requests are still under way, not waited for any longer");
        }
        let flushed = self.volume.shutdown().await;
        if let Some((path, _lock)) = self.pid_file.take() {
            // A new mount may have the file by now only if it has our device number, which is ours until here.
            let _ = std::fs::remove_file(path);
        }
        flushed.map_err(|error| {
            tracing::error!(%error, "not everything was written");
            let hint = "look for files that were being written";
            Failure::system(format!("not everything was written: {error}"), hint)
        })
    }

    /// Takes away our mount and no other.
    async fn unmount(&self) {
        let (path, device) = (self.mountpoint.clone(), self.device);
        let unmounted = blocking(move || {
            let top = mounts::topmost(&path).ok().flatten();
            if device.is_none() || top.map(|top| top.device) != device {
                return Ok(());
            }
            mountpoint::unmount(&path, UnmountFlags::empty())
                .or_else(|_| mountpoint::unmount(&path, UnmountFlags::DETACH))
                .map_err(|errno| Failure::system(errno.to_string(), "umount it by hand"))
        });
        if let Err(failure) = unmounted.await {
            tracing::error!(%failure, "cannot unmount");
        }
    }
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::system(format!("signals: {error}"), "try again"))
        };
        Ok(Stop {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn called(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs what blocks away from the runtime's workers.
async fn blocking<T, F>(act: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => Err(Failure::system(error.to_string(), "report this")),
    }
}

fn remount(request: &MountRequest) -> Result<(), Failure> {
    let shown = request.mountpoint.display();
    let no = |why: String| Failure::mount(format!("remount of {shown}: {why}"), "see mount(8)");
    let path = mountpoint::resolve(&request.mountpoint).map_err(|error| no(error.to_string()))?;
    let top = mounts::topmost(&path).map_err(|error| no(error.to_string()))?;
    if !top.is_some_and(|top| top.is_ours()) {
        return Err(no("no xtfs is mounted there".into()));
    }
    if request.fake {
        return Ok(());
    }
    rustix::mount::mount_remount(&path, request.options.flags, c"")
        .map_err(|errno| no(errno.to_string()))
}

/// Why there is no connection, in words that lead on.
fn not_connected(request: &MountRequest, error: &Error) -> Failure {
    let spec = &request.spec;
    let text = spec.to_string();
    let dirs = text.split('/').next().unwrap_or_default();
    match error {
        Error::NotFound => {
            let volume = spec.volume();
            let cause = match spec.subdir() {
                Some(subdir) => format!("there is no volume {volume:?} with {subdir:?} at {dirs}"),
                None => format!("there is no volume {volume:?} at {dirs}"),
            };
            Failure::mount(cause, format!("see lsfs.xtfs {dirs}, or make it: mkfs.xtfs {text}"))
        }
        error if error.is_retryable() => {
            let cause = format!("cannot mount {text}: {error}");
            Failure::mount(cause, format!("check address and services: xtfs status --dir {dirs}"))
        }
        error => {
            let cause = format!("cannot mount {text}: {error}");
            Failure::mount(cause, format!("see xtfs status --dir {dirs}"))
        }
    }
}

fn usual_cache_dir(root: bool) -> Option<PathBuf> {
    if root {
        return Some("/var/cache/xtfs".into());
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match variable("XDG_CACHE_HOME") {
        Some(base) => PathBuf::from(base),
        None => Path::new(&variable("HOME")?).join(".cache"),
    };
    Some(base.join("xtfs"))
}

/// For whoever looks at the sessions of a volume.
fn description(mountpoint: &Path) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("{host}:{} mount.xtfs {}", mountpoint.display(), env!("CARGO_PKG_VERSION"))
}

fn write_pid_file(path: &Path) -> io::Result<OwnedFd> {
    mountpoint::make_parent(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    rustix::fs::ftruncate(&file, 0)?;
    rustix::io::write(&file, format!("{}\n", std::process::id()).as_bytes())?;
    Ok(file)
}
