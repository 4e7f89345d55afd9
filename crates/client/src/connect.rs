//! How a mount begins: cluster, volume, MRC, session, subdirectory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtfs_core::{ClientId, Error, Ino, Result};
use xtfs_rpc::VolumeRecord;

use crate::attributes::FileKind;
use crate::closes::Closes;
use crate::cluster::Cluster;
use crate::file_state::FileTable;
use crate::mount::{CLOSING_MAX, Mount};
use crate::mrc::{ITSELF, Mrc};
use crate::osds::Osds;
use crate::owed;
use crate::recalls::Forgetting;
use crate::retry::Retry;
use crate::session;
use crate::spec::{MountSpec, Options};
use crate::syncer::Syncer;
use crate::volume::Volume;
use crate::write_behind::WriteBehind;

/// Opens volumes.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// Finds cluster, volume and MRC, opens a session there, and looks the subdirectory up. Must
    /// be called in the tokio runtime that the mount will live in.
    pub async fn mount(spec: MountSpec, options: Options) -> Result<Arc<Volume>> {
        let mut retry = Retry::new(options.timeo);
        let cluster = loop {
            let cache_dir = options.cache_dir.as_deref();
            match Cluster::connect(spec.dirs(), cache_dir, retry.left()).await {
                Ok(cluster) => break cluster,
                Err(err) => {
                    retry.after(err, || format!("DIR at {}", spec.dirs())).await?;
                }
            }
        };
        let record = find_volume(&cluster, &spec, &mut retry).await?;
        let client = ClientId::generate();
        let files = Arc::new(FileTable::default());
        let lost_files = files.clone();
        let on_lost = move |ino| {
            if let Some(file) = lost_files.find(ino) {
                file.vanish();
            }
        };
        let mrc = Mrc::open(
            cluster.clone(),
            (record.group, record.id),
            (client, options.description.clone()),
            options.timeo,
            Box::new(on_lost),
        )
        .await?;
        let mount = Arc::new(Mount {
            osds: Osds::new(cluster, client, options.timeo),
            mrc,
            files,
            syncer: Syncer::default(),
            write_behind: WriteBehind::default(),
            cache: Arc::default(),
            local_handles: AtomicUsize::new(0),
            forgetting: Forgetting::default(),
            lock_owners: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            timeo: options.timeo,
            runtime: Handle::current(),
            closes: Closes::default(),
            closing: TaskTracker::new(),
            closing_room: Arc::new(Semaphore::new(CLOSING_MAX)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        mount.tasks.spawn(session::keep_alive(mount.clone()));
        mount.tasks.spawn(owed::keep_paid(mount.mrc.clone(), mount.stop.clone()));
        let stop = &mount.stop;
        mount.tasks.spawn(stop.clone().run_until_cancelled_owned(mount.clone().keep_synced()));
        mount.tasks.spawn(stop.clone().run_until_cancelled_owned(mount.clone().keep_flushed()));
        mount.tasks.spawn(stop.clone().run_until_cancelled_owned(mount.clone().keep_closing()));
        mount
            .tasks
            .spawn(stop.clone().run_until_cancelled_owned(mount.clone().keep_telling_reads()));
        let volume = Volume::new(mount.clone(), Ino::ROOT, options.read_only);
        match find_root(&volume, &spec).await {
            Ok(root) => Ok(Arc::new(Volume::new(mount, root, options.read_only))),
            Err(err) => {
                // The error is why; that the session goes with it matters less.
                if let Err(err) = volume.shutdown().await {
                    tracing::warn!(%err, "end the session of a mount that failed");
                }
                Err(err)
            }
        }
    }
}

/// From the list, or, if it is not in there yet, from the DIR as it is now.
async fn find_volume(
    cluster: &Cluster,
    spec: &MountSpec,
    retry: &mut Retry,
) -> Result<VolumeRecord> {
    if let Some(record) = cluster.services().volume(spec.volume()) {
        return Ok(record.clone());
    }
    loop {
        match cluster.fresh_services(retry.left()).await {
            Ok(services) => {
                return services.volume(spec.volume()).cloned().ok_or(Error::NotFound);
            }
            Err(err) => {
                retry.after(err, || format!("DIR at {}", spec.dirs())).await?;
            }
        }
    }
}

async fn find_root(volume: &Volume, spec: &MountSpec) -> Result<Ino> {
    let mut ino = Ino::ROOT;
    for name in spec.subdir().unwrap_or_default().split('/').filter(|name| !name.is_empty()) {
        let attributes = volume.lookup(&ITSELF, ino, name.as_bytes()).await?;
        if attributes.kind != FileKind::Directory {
            return Err(Error::NotADirectory);
        }
        ino = attributes.ino;
    }
    Ok(ino)
}
