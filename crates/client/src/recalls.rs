//! Recalls of leases: what is kept goes, first here, then in the kernel; then the MRC is told.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use xtfs_core::{Ino, SessionId};
use xtfs_proto::v1;

use crate::mount::Mount;

/// What somebody else, who has copies of what is kept, must drop of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    Attributes,
    /// The data as well.
    All,
}

/// Drops copies of an inode. It may block; what it waits for must need no answer to a recall.
pub type OnForget = Arc<dyn Fn(Ino, Forget) + Send + Sync>;

/// Who has copies of what is kept: the kernel, under a mount.
#[derive(Default)]
pub(crate) struct Forgetting(OnceLock<OnForget>);

impl fmt::Debug for Forgetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forgetting").field(&self.0.get().is_some()).finish()
    }
}

impl Forgetting {
    pub(crate) fn tell_to(&self, tell: OnForget) {
        // There is one mount; only the first counts.
        self.0.set(tell).unwrap_or_default();
    }

    /// Returns when all copies are gone.
    pub(crate) async fn tell(&self, inos: Vec<Ino>, what: Forget) {
        let Some(tell) = self.0.get().cloned() else { return };
        let told = tokio::task::spawn_blocking(move || {
            inos.into_iter().for_each(|ino| tell(ino, what));
        });
        if let Err(err) = told.await {
            tracing::error!(%err, "telling the kernel what to forget");
        }
    }

    /// Of a change of ours of which nobody knows what became.
    pub(crate) fn tell_later(&self, runtime: &Handle, inos: &[Ino]) {
        let Some(tell) = self.0.get().cloned() else { return };
        let inos = inos.to_vec();
        runtime.spawn_blocking(move || inos.into_iter().for_each(|ino| tell(ino, Forget::All)));
    }
}

impl Mount {
    /// Returns when nothing is relied on any more that the recall ends.
    pub(crate) async fn carry_out(self: &Arc<Self>, recall: v1::Recall) {
        self.cache.with(|table| table.recall(Ino(recall.ino), recall.grant));
        self.flush_surely(Ino(recall.ino)).await;
        self.register_surely([Ino(recall.ino)]).await;
        // Also if nothing was kept: the kernel may have more.
        self.forgetting.tell(vec![Ino(recall.ino)], Forget::All).await;
    }

    /// Leases of another session, or of another term of the MRC's log, are none. Once nothing is relied on of them
    /// `then` is called.
    pub(crate) fn enter(
        self: &Arc<Self>,
        session: SessionId,
        term: u64,
        then: impl FnOnce() + Send + 'static,
    ) {
        if self.cache.of() == (session, term) {
            return;
        }
        let inos = self.cache.enter(session, term);
        let mount = self.clone();
        self.tasks.spawn(async move {
            mount.flush_all_surely().await;
            mount.register_surely(mount.files.all()).await;
            mount.forgetting.tell(inos, Forget::All).await;
            mount.cache.entered(session, term);
            then();
        });
    }
}
