//! Replica sets of one member, one for each target: made durably at first use, and told to the target
//! before a capability over it is handed out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xtfs_core::{
    DataNumber, DataVersion, Error, ReplicaSetId, Result, SetEpoch, StripeLayout, TargetId,
    VolumeId,
};

use crate::mrc::{Mrc, OSD_DEADLINE_MAX};
use crate::placement::place;
use crate::state::command::CreateSet;
use crate::state::inode::ReplicaSet;
use crate::state::{Action, Layout};

/// Targets that may turn out to be silent while one file is placed.
const SILENT_MAX: usize = 4;

/// What targets have been told by this process.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    told: Mutex<HashSet<(TargetId, ReplicaSetId, SetEpoch)>>,
    creating: tokio::sync::Mutex<()>,
}

impl Sets {
    fn is_told(&self, target: TargetId, set: &ReplicaSet) -> bool {
        self.told.lock().contains(&(target, set.id, set.epoch))
    }

    fn note_told(&self, target: TargetId, set: &ReplicaSet) {
        self.told.lock().insert((target, set.id, set.epoch));
    }

    /// It has come back, perhaps without what it was told.
    fn forget(&self, target: TargetId) {
        self.told.lock().retain(|(told, _, _)| *told != target);
    }
}

impl Mrc {
    /// A layout for a new file on targets that know their sets.
    pub(crate) async fn place(
        self: &Arc<Self>,
        striping: StripeLayout,
        deadline: Instant,
    ) -> Result<Layout> {
        let data = DataNumber(self.number().await?);
        let mut candidates = self.candidates();
        for silent in 0.. {
            let targets = place(&candidates, striping.stripe_width(), data)?;
            let limit = deadline.saturating_duration_since(Instant::now());
            match self.sets_for(&targets, limit.min(OSD_DEADLINE_MAX)).await {
                Ok(sets) => {
                    // At most the width that was asked for.
                    let width = u16::try_from(sets.len()).unwrap_or(u16::MAX);
                    let striping = striping.narrowed(width);
                    return Ok(Layout { striping, data, version: DataVersion(0), sets });
                }
                Err((target, err)) if err.is_retryable() && silent < SILENT_MAX => {
                    tracing::warn!(?target, %err, "placing around a target that does not answer");
                    candidates.retain(|candidate| Some(candidate.id) != target);
                }
                Err((_, err)) => return Err(err),
            }
        }
        Err(Error::Unavailable("the OSDs do not answer; see xtfs osd ls".into()))
    }

    /// The set of each target. The error names the target that it is about.
    async fn sets_for(
        &self,
        targets: &[TargetId],
        limit: Duration,
    ) -> Result<Vec<ReplicaSetId>, (Option<TargetId>, Error)> {
        let mut sets = Vec::with_capacity(targets.len());
        for &target in targets {
            let set = self.set_for(target).await.map_err(|err| (None, err))?;
            if !self.sets.is_told(target, &set) {
                let told = self.osds.configure(target, std::slice::from_ref(&set), limit).await;
                told.map_err(|err| (Some(target), err))?;
                self.sets.note_told(target, &set);
            }
            sets.push(set.id);
        }
        Ok(sets)
    }

    fn set_of_target(&self, target: TargetId) -> Result<Option<ReplicaSet>> {
        self.view(|view| {
            let sets = view.sets_of_target(target)?;
            sets.first().map(|&set| view.replica_set(set)).transpose()
        })
    }

    async fn set_for(&self, target: TargetId) -> Result<ReplicaSet> {
        if let Some(set) = self.set_of_target(target)? {
            return Ok(set);
        }
        let _creating = self.sets.creating.lock().await;
        if let Some(set) = self.set_of_target(target)? {
            return Ok(set);
        }
        let create = CreateSet {
            set: ReplicaSetId(self.number().await?),
            epoch: SetEpoch(self.number().await?),
            target,
        };
        self.command(VolumeId(0), Action::CreateSets(vec![create])).await?;
        self.set_of_target(target)?.ok_or_else(|| {
            Error::Internal(format!(
                "the replica set of OSD {target} is not there after its making"
            ))
        })
    }

    /// Tells a target that has come, or come back, of all its sets.
    pub(crate) async fn tell_target(&self, target: TargetId) -> Result<()> {
        self.sets.forget(target);
        let Some(set) = self.set_of_target(target)? else {
            return Ok(());
        };
        self.osds.configure(target, std::slice::from_ref(&set), OSD_DEADLINE_MAX).await?;
        self.sets.note_told(target, &set);
        Ok(())
    }
}
