//! Whether a request may touch a column (O1). Pure; what the store alone knows (the column's own
//! epoch) the store checks under the column's lock, with the [`Fence`] that is decided here.

use std::time::Duration;

use xtfs_core::capability::{Capability, Rights};
use xtfs_core::{
    ColumnId, Error, FileEpoch, Floor, ReplicaSetId, Result, SetEpoch, StripeLayout, TargetId,
    Timestamp,
};

use crate::store::{Fence, ReplicaSet};

/// How far our clock may be ahead of the MRC's before a fresh capability is refused.
pub(crate) const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// What a request claims, as far as admission looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) column: ColumnId,
    pub(crate) needs: Rights,
    pub(crate) set: ReplicaSetId,
    pub(crate) set_epoch: SetEpoch,
    /// `None`: whatever the capability says.
    pub(crate) file_epoch: Option<FileEpoch>,
}

/// A replica set as `target` was told of it; `None` if it never was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) target: TargetId,
    pub(crate) set: Option<&'a ReplicaSet>,
}

/// Admits a request with a genuine `capability`.
pub(crate) fn admit(
    claim: Claim,
    capability: &Capability,
    told: Told<'_>,
    now: Timestamp,
) -> Result<Fence> {
    if !capability.covers(claim.column) {
        return Err(Error::Forbidden(format!("it is not for column {}", claim.column)));
    }
    if claim.needs == Rights::ReadWrite && capability.rights == Rights::Read {
        return Err(Error::Forbidden("it is for reading only".into()));
    }
    if now > capability.expires.plus(EXPIRY_GRACE) {
        return Err(Error::CapabilityExpired);
    }
    admit_set(claim.set_epoch, told)?;
    let epoch = capability.file_epoch;
    match claim.file_epoch {
        // Data that was written under an older right than the one that now speaks for it.
        Some(claimed) if claimed < epoch => Err(Error::StaleFileEpoch { current: epoch }),
        Some(claimed) if claimed > epoch => Err(Error::Forbidden(format!(
            "it is for file epoch {epoch}, the request claims {claimed}"
        ))),
        Some(_) | None => Ok(Fence { epoch, column_floor: capability.column_floor(claim.column) }),
    }
}

/// The part that holds for requests of the MRC, which carry no capability, too.
pub(crate) fn admit_set(claimed: SetEpoch, told: Told<'_>) -> Result<()> {
    let set = told.set.ok_or(Error::UnknownSet)?;
    if set.members.contains(&told.target) && set.epoch == claimed {
        return Ok(());
    }
    // A set that is behind the request's is one that the MRC has yet to tell of.
    if set.epoch < claimed {
        return Err(Error::UnknownSet);
    }
    Err(Error::StaleSetEpoch { current: set.epoch })
}

/// What a seal cuts a column to.
pub(crate) fn seal_fence(
    column: ColumnId,
    layout: StripeLayout,
    epoch: FileEpoch,
    floor: Floor,
) -> Fence {
    let cut = (floor != Floor::NONE).then(|| layout.column_len(floor.0, column.index));
    Fence { epoch, column_floor: cut }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::{ColumnIndex, DataNumber, DataVersion, SessionId, VolumeId};

    const NOW: Timestamp = Timestamp(100_000_000_000);

    fn capability() -> Capability {
        Capability {
            volume: VolumeId(1),
            data: DataNumber(2),
            version: DataVersion(0),
            layout: StripeLayout::new(4096, 2).unwrap(),
            rights: Rights::ReadWrite,
            file_epoch: FileEpoch(3),
            floor: Floor(3 * 4096),
            session: SessionId(4),
            expires: NOW,
        }
    }

    fn column() -> ColumnId {
        ColumnId {
            volume: VolumeId(1),
            data: DataNumber(2),
            index: ColumnIndex(1),
            version: DataVersion(0),
        }
    }

    fn claim() -> Claim {
        Claim {
            column: column(),
            needs: Rights::ReadWrite,
            set: ReplicaSetId(7),
            set_epoch: SetEpoch(5),
            file_epoch: Some(FileEpoch(3)),
        }
    }

    const OWN: TargetId = TargetId(uuid::Uuid::from_u128(1));
    const OTHER: TargetId = TargetId(uuid::Uuid::from_u128(2));

    fn set(epoch: u64, member: TargetId) -> ReplicaSet {
        ReplicaSet { epoch: SetEpoch(epoch), members: vec![member] }
    }

    fn decide(claim: Claim, capability: &Capability, now: Timestamp) -> Result<Fence> {
        let set = set(5, OWN);
        admit(claim, capability, Told { target: OWN, set: Some(&set) }, now)
    }

    #[test]
    fn what_fits_is_admitted_with_the_signed_fence() {
        let fence = Fence { epoch: FileEpoch(3), column_floor: Some(4096) };
        assert_eq!(decide(claim(), &capability(), NOW), Ok(fence));
        let unnamed = Claim { file_epoch: None, ..claim() };
        assert_eq!(decide(unnamed, &capability(), NOW), Ok(fence));
        let whole = Capability { floor: Floor::NONE, ..capability() };
        let fence = Fence { column_floor: None, ..fence };
        assert_eq!(decide(claim(), &whole, NOW), Ok(fence));
    }

    #[test]
    fn a_capability_for_something_else_is_refused() {
        #[track_caller]
        fn check(claim: Claim, capability: Capability) {
            let refused = decide(claim, &capability, NOW);
            assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        }
        let at = |column| Claim { column, ..claim() };
        check(at(ColumnId { volume: VolumeId(2), ..column() }), capability());
        check(at(ColumnId { data: DataNumber(3), ..column() }), capability());
        check(at(ColumnId { index: ColumnIndex(2), ..column() }), capability());
        check(at(ColumnId { version: DataVersion(1), ..column() }), capability());
        check(claim(), Capability { rights: Rights::Read, ..capability() });
        check(Claim { file_epoch: Some(FileEpoch(4)), ..claim() }, capability());
    }

    #[test]
    fn reading_needs_only_the_right_to_read() {
        let claim = Claim { needs: Rights::Read, ..claim() };
        for rights in [Rights::Read, Rights::ReadWrite] {
            assert!(decide(claim, &Capability { rights, ..capability() }, NOW).is_ok());
        }
    }

    #[test]
    fn a_capability_lives_until_the_grace_is_over() {
        let at = |now| decide(claim(), &capability(), now);
        let end = NOW.plus(EXPIRY_GRACE);
        assert!(at(end).is_ok());
        assert_eq!(at(end.plus(Duration::from_nanos(1))), Err(Error::CapabilityExpired));
    }

    #[test]
    fn a_set_is_admitted_at_exactly_its_epoch() {
        #[track_caller]
        fn check(set: Option<ReplicaSet>, expected: Error) {
            let told = Told { target: OWN, set: set.as_ref() };
            assert_eq!(admit(claim(), &capability(), told, NOW), Err(expected));
        }
        check(None, Error::UnknownSet);
        check(Some(set(4, OWN)), Error::UnknownSet);
        check(Some(set(6, OWN)), Error::StaleSetEpoch { current: SetEpoch(6) });
        check(Some(set(5, OTHER)), Error::StaleSetEpoch { current: SetEpoch(5) });
        check(Some(set(6, OTHER)), Error::StaleSetEpoch { current: SetEpoch(6) });
    }

    #[test]
    fn data_of_an_older_epoch_is_stale_under_a_newer_capability() {
        let claim = Claim { file_epoch: Some(FileEpoch(2)), ..claim() };
        let stale = Error::StaleFileEpoch { current: FileEpoch(3) };
        assert_eq!(decide(claim, &capability(), NOW), Err(stale));
    }

    #[test]
    fn a_seal_cuts_to_the_column_s_part_of_the_floor() {
        let layout = StripeLayout::new(4096, 2).unwrap();
        let cut = |floor| seal_fence(column(), layout, FileEpoch(9), floor).column_floor;
        assert_eq!(cut(Floor::NONE), None);
        assert_eq!(cut(Floor(0)), Some(0));
        assert_eq!(cut(Floor(5000)), Some(904));
    }
}
