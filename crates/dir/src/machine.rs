//! The replicated part: what changes the rows, and by which rules.

use serde::{Deserialize, Serialize};
use xtfs_core::{ClusterId, Error, GroupId, Result, ServiceId, TargetId, Timestamp, VolumeId};
use xtfs_kv::Transaction;
use xtfs_replog::StateMachine;
use xtfs_rpc::TargetState;

use crate::rows::{self, Host, KeyRow, MrcRow, Secret, TargetFacts, TargetRow, VolumeRow};

/// Keys that verify. Capabilities live for a minute, keys for days.
const KEYS_MAX: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// First start: nothing if there is a cluster already.
    Found {
        cluster: ClusterId,
        secret: Secret,
        now: Timestamp,
    },
    /// Nothing if `newest` is not the newest any more.
    RotateKey {
        newest: u32,
        secret: Secret,
        now: Timestamp,
    },
    Register {
        host: Host,
        targets: Vec<TargetFacts>,
        mrc: Option<MrcClaim>,
    },
    SetTargetState {
        target: TargetId,
        state: TargetState,
    },
    ClaimVolume {
        name: String,
        group: GroupId,
    },
    ReleaseVolume {
        name: String,
        id: VolumeId,
    },
}

/// `group` is zero if the MRC does not know it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MrcClaim {
    pub(crate) id: ServiceId,
    pub(crate) group: GroupId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Done {
    Nothing,
    Cluster(ClusterId),
    Group(GroupId),
    Volume(VolumeId),
}

#[derive(Debug)]
pub(crate) struct Machine;

impl StateMachine for Machine {
    type Command = Command;
    type Reply = Result<Done>;

    fn apply(&self, command: Command, tx: &mut Transaction<'_>) -> Result<Result<Done>> {
        let done = tx.nested(|tx| change(command, tx));
        match done {
            // The store is broken, and with it this member.
            Err(err @ (Error::Corrupt(_) | Error::Internal(_))) => Err(err),
            done => Ok(done),
        }
    }

    fn frees_space(&self, command: &Command) -> bool {
        matches!(command, Command::ReleaseVolume { .. })
    }
}

fn change(command: Command, tx: &mut Transaction<'_>) -> Result<Done> {
    match command {
        Command::Found { cluster, secret, now } => found(tx, cluster, secret, now),
        Command::RotateKey { newest, secret, now } => rotate_key(tx, newest, secret, now),
        Command::Register { host, targets, mrc } => register(tx, &host, targets, mrc),
        Command::SetTargetState { target, state } => set_target_state(tx, target, state),
        Command::ClaimVolume { name, group } => claim_volume(tx, &name, group),
        Command::ReleaseVolume { name, id } => release_volume(tx, &name, id),
    }
}

fn found(
    tx: &mut Transaction<'_>,
    cluster: ClusterId,
    secret: Secret,
    now: Timestamp,
) -> Result<Done> {
    if let Some(existing) = rows::cluster(tx)? {
        return Ok(Done::Cluster(existing));
    }
    rows::put_cluster(tx, cluster);
    rows::put_keys(tx, &vec![KeyRow { id: 1, secret, made: now }]);
    Ok(Done::Cluster(cluster))
}

fn rotate_key(
    tx: &mut Transaction<'_>,
    newest: u32,
    secret: Secret,
    now: Timestamp,
) -> Result<Done> {
    let mut keys = rows::keys(tx)?;
    if keys.last().is_some_and(|key| key.id == newest) {
        keys.push(KeyRow { id: newest + 1, secret, made: now });
        keys.drain(..keys.len().saturating_sub(KEYS_MAX));
        rows::put_keys(tx, &keys);
    }
    Ok(Done::Nothing)
}

fn register(
    tx: &mut Transaction<'_>,
    host: &Host,
    targets: Vec<TargetFacts>,
    mrc: Option<MrcClaim>,
) -> Result<Done> {
    for facts in targets {
        // An operator's word outlives the process.
        let known = rows::target(tx, facts.id)?;
        let state = known.map_or(TargetState::Online, |row| row.state);
        rows::put_target(tx, &TargetRow { facts, host: host.clone(), state });
    }
    let Some(claim) = mrc else { return Ok(Done::Nothing) };
    let group = group_of(tx, claim)?;
    rows::put_mrc(tx, &MrcRow { id: claim.id, group, host: host.clone() });
    Ok(Done::Group(group))
}

/// The group of an MRC is assigned once.
fn group_of(tx: &mut Transaction<'_>, claim: MrcClaim) -> Result<GroupId> {
    let none = GroupId(0);
    let made = rows::groups_made(tx)?;
    match rows::mrc(tx, claim.id)? {
        Some(known) if claim.group == none || claim.group == known.group => Ok(known.group),
        Some(known) => Err(Error::Invalid(format!(
            "MRC {} belongs to group {}, its data directory says {}; restore the right directory",
            claim.id, known.group, claim.group
        ))),
        // It has forgotten nothing, this DIR has: numbers of old groups are not given again.
        None if claim.group != none => {
            rows::put_groups_made(tx, made.max(claim.group.0));
            Ok(claim.group)
        }
        None => {
            rows::put_groups_made(tx, made + 1);
            Ok(GroupId(made + 1))
        }
    }
}

fn set_target_state(
    tx: &mut Transaction<'_>,
    target: TargetId,
    state: TargetState,
) -> Result<Done> {
    let row = rows::target(tx, target)?.ok_or(Error::NotFound)?;
    rows::put_target(tx, &TargetRow { state, ..row });
    Ok(Done::Nothing)
}

fn claim_volume(tx: &mut Transaction<'_>, name: &str, group: GroupId) -> Result<Done> {
    match rows::volume(tx, name)? {
        Some(known) if known.group == group => return Ok(Done::Volume(known.id)),
        Some(_) => return Err(Error::Exists),
        None => {}
    }
    if !rows::mrcs(tx)?.iter().any(|mrc| mrc.group == group) {
        return Err(Error::Invalid(format!("no MRC has registered as group {group}")));
    }
    let count = rows::volumes_made(tx, group)? + 1;
    rows::put_volumes_made(tx, group, count);
    let id = VolumeId::new(group, count);
    rows::put_volume(tx, name, &VolumeRow { id, group });
    Ok(Done::Volume(id))
}

fn release_volume(tx: &mut Transaction<'_>, name: &str, id: VolumeId) -> Result<Done> {
    match rows::volume(tx, name)? {
        Some(known) if known.id == id => rows::delete_volume(tx, name),
        // Released before, and perhaps claimed again: nothing of the caller's is left.
        Some(_) | None => {}
    }
    Ok(Done::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_kv::{Durability, Kv, MemKv};
    use xtfs_rpc::Address;

    #[derive(Debug, Default)]
    struct Dir(MemKv);

    impl Dir {
        fn apply(&self, command: Command) -> Result<Done> {
            let mut tx = Transaction::new(&self.0);
            let done = Machine.apply(command, &mut tx).unwrap();
            self.0.write(tx.into_batch(), Durability::Process).unwrap();
            done
        }

        fn register_mrc(&self, id: ServiceId, group: u32) -> Result<Done> {
            let mrc = Some(MrcClaim { id, group: GroupId(group) });
            self.apply(Command::Register { host: host(), targets: vec![], mrc })
        }

        fn claim(&self, name: &str, group: u32) -> Result<Done> {
            self.apply(Command::ClaimVolume { name: name.into(), group: GroupId(group) })
        }
    }

    fn host() -> Host {
        let addresses = vec![Address::new("a", 1)];
        Host { node: "n".into(), addresses, version: "1".into() }
    }

    fn facts(id: TargetId) -> TargetFacts {
        TargetFacts {
            id,
            path: "/disk".into(),
            total_bytes: 10,
            used_bytes: 1,
            free_bytes: 9,
            filesystem: "8:1".into(),
            zone: String::new(),
            labels: [("rack".to_owned(), "1".to_owned())].into(),
            boot: 1,
            fault: String::new(),
        }
    }

    #[test]
    fn a_cluster_is_founded_once_and_keys_rotate() {
        let dir = Dir::default();
        let found = |n| {
            let cluster = ClusterId::generate();
            let secret = Secret([n; 32]);
            dir.apply(Command::Found { cluster, secret, now: Timestamp(0) })
        };
        assert_eq!(found(1), found(2));
        for newest in [1, 1, 2, 3, 4] {
            let secret = Secret([9; 32]);
            dir.apply(Command::RotateKey { newest, secret, now: Timestamp(1) }).unwrap();
        }
        let ids: Vec<_> = rows::keys(&dir.0).unwrap().iter().map(|key| key.id).collect();
        assert_eq!(ids, [3, 4, 5]);
    }

    #[test]
    fn a_group_is_assigned_once() {
        let dir = Dir::default();
        let (a, b, c) = (ServiceId::generate(), ServiceId::generate(), ServiceId::generate());
        assert_eq!(dir.register_mrc(a, 0), Ok(Done::Group(GroupId(1))));
        assert_eq!(dir.register_mrc(b, 0), Ok(Done::Group(GroupId(2))));
        assert_eq!(dir.register_mrc(a, 0), Ok(Done::Group(GroupId(1))));
        assert_eq!(dir.register_mrc(a, 1), Ok(Done::Group(GroupId(1))));
        assert!(matches!(dir.register_mrc(a, 2), Err(Error::Invalid(_))));
        assert_eq!(dir.register_mrc(c, 7), Ok(Done::Group(GroupId(7))));
        assert_eq!(dir.register_mrc(ServiceId::generate(), 0), Ok(Done::Group(GroupId(8))));
    }

    #[test]
    fn a_volume_name_belongs_to_one_group() {
        let dir = Dir::default();
        assert!(matches!(dir.claim("v", 1), Err(Error::Invalid(_))), "no such group yet");
        dir.register_mrc(ServiceId::generate(), 0).unwrap();
        dir.register_mrc(ServiceId::generate(), 0).unwrap();
        let id = VolumeId::new(GroupId(1), 1);
        assert_eq!(dir.claim("v", 1), Ok(Done::Volume(id)));
        assert_eq!(dir.claim("v", 1), Ok(Done::Volume(id)));
        assert_eq!(dir.claim("v", 2), Err(Error::Exists));
        let release = |id| dir.apply(Command::ReleaseVolume { name: "v".into(), id });
        release(VolumeId(5)).unwrap();
        assert_eq!(dir.claim("v", 1), Ok(Done::Volume(id)), "another id releases nothing");
        release(id).unwrap();
        release(id).unwrap();
        assert_eq!(dir.claim("v", 1), Ok(Done::Volume(VolumeId::new(GroupId(1), 2))));
    }

    #[test]
    fn a_removed_target_stays_removed() {
        let dir = Dir::default();
        let id = TargetId::generate();
        let set = |state| dir.apply(Command::SetTargetState { target: id, state });
        let register = || {
            let targets = vec![facts(id)];
            dir.apply(Command::Register { host: host(), targets, mrc: None }).unwrap();
            rows::target(&dir.0, id).unwrap().unwrap().state
        };
        assert_eq!(set(TargetState::Locked), Err(Error::NotFound));
        assert_eq!(register(), TargetState::Online);
        set(TargetState::Removed).unwrap();
        assert_eq!(register(), TargetState::Removed);
        set(TargetState::Online).unwrap();
        assert_eq!(register(), TargetState::Online);
    }
}
