//! Daemons register, are listed, fall silent, and are refused.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use xtfs_core::{ClusterId, Error, GroupId, ServiceId, TargetId, VolumeId};
use xtfs_proto::{Header, v1};
use xtfs_rpc::registration::{Registrant, Registration, register};
use xtfs_rpc::{
    Address, Connector, DirAddresses, Directory, DirectoryWatch, Failure, Listen, TargetState,
};

use crate::cluster::{DEADLINE, Said, TestDir, Wrong, eventually};

async fn join(dir: &TestDir, who: Registrant) -> Result<Registration, Failure> {
    register(dir.directory(), who, &CancellationToken::new()).await
}

async fn set_state(dir: &TestDir, target: TargetId, state: TargetState) -> Result<(), Error> {
    let set = |mut client: xtfs_rpc::DirService, _| async move {
        let header = Some(Header::new(Some(dir.cluster)).into());
        let state = v1::TargetState::from(state).into();
        let target = target.to_wire().into();
        client.set_target_state(v1::SetTargetStateRequest { header, target, state }).await
    };
    dir.directory().call(DEADLINE, set).await.map(drop)
}

async fn claim(dir: &TestDir, name: &str, group: GroupId) -> Result<VolumeId, Error> {
    let claim = |mut client: xtfs_rpc::DirService, _| {
        let header = Some(Header::new(Some(dir.cluster)).into());
        let request = v1::ClaimVolumeRequest { header, name: name.into(), group: group.0 };
        async move { client.claim_volume(request).await }
    };
    dir.directory().call(DEADLINE, claim).await.map(|reply| VolumeId(reply.id))
}

#[tokio::test]
async fn a_registered_target_is_listed_until_it_leaves() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let id = TargetId::generate();
    let said = Said::target(id);
    let watch = DirectoryWatch::start(dir.directory(), dir.cluster, None, DEADLINE).await.unwrap();
    assert!(watch.current().targets.is_empty());

    let registration = join(&dir, said.registrant(7)).await.unwrap();
    assert_eq!(registration.cluster, dir.cluster);
    assert_eq!(registration.addresses, [Address::new("127.0.0.1", 7)]);
    assert_eq!(registration.keys().borrow().len(), 1);
    let mut lists = watch.subscribe();
    let seen = lists.wait_for(|list| list.target(id).is_some()).await.unwrap().clone();
    let target = seen.target(id).unwrap();
    assert!(target.alive);
    assert_eq!((target.total_bytes, target.zone.as_str()), (1000, "z1"));
    assert_eq!(seen.members, [dir.address()]);

    said.0.lock().unwrap().targets[0].fault = "disk is gone; replace it".into();
    let faulty = |list: &Arc<xtfs_rpc::ServiceList>| list.target(id).unwrap().fault.is_some();
    lists.wait_for(faulty).await.unwrap();

    registration.leave().await;
    assert!(!dir.list().await.target(id).unwrap().alive, "it has said so itself");
    lists.wait_for(|list| !list.target(id).unwrap().alive).await.unwrap();
    dir.stop().await;
}

#[tokio::test]
async fn a_silent_target_is_dead_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let id = TargetId::generate();
    let registration = join(&dir, Said::target(id).registrant(7)).await.unwrap();
    // As a crash: no farewell.
    drop(registration);
    assert!(dir.list().await.target(id).unwrap().alive);
    eventually("silence is noticed", async || !dir.list().await.target(id).unwrap().alive).await;
    let _again = join(&dir, Said::target(id).registrant(8)).await.unwrap();
    assert!(dir.list().await.target(id).unwrap().alive);
    dir.stop().await;
}

#[tokio::test]
async fn the_same_id_elsewhere_is_refused_while_the_first_lives() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let said = Said::target(TargetId::generate());
    let first = join(&dir, said.registrant(7)).await.unwrap();
    let refused = join(&dir, said.registrant(8)).await.unwrap_err().to_string();
    assert!(refused.contains("served by another process at 127.0.0.1:7"), "{refused}");
    drop(first);
    // Asked again for a while, it gets its turn.
    join(&dir, said.registrant(8)).await.unwrap();
    dir.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_records_groups_volumes_keys_and_states() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let (cluster, at) = (dir.cluster, dir.at);
    let (target, mrc) = (TargetId::generate(), ServiceId::generate());
    let osd = join(&dir, Said::target(target).registrant(7)).await.unwrap();
    let mrc = join(&dir, Said::mrc(mrc).registrant(9)).await.unwrap();
    assert_eq!(mrc.group, GroupId(1));
    let keys = osd.keys().borrow().clone();
    let volume = claim(&dir, "scratch", mrc.group).await.unwrap();
    set_state(&dir, target, TargetState::Locked).await.unwrap();
    assert_eq!(
        set_state(&dir, TargetId::generate(), TargetState::Online).await,
        Err(Error::NotFound)
    );
    dir.stop().await;

    let listen: Listen = at.to_string().parse().unwrap();
    let dir = TestDir::start_at(root.path(), listen).await.unwrap();
    assert_eq!(dir.cluster, cluster);
    let list = dir.list().await;
    assert!(list.target(target).unwrap().alive, "it gets the time to be heard");
    assert_eq!(list.target(target).unwrap().state, TargetState::Locked);
    assert_eq!(list.volume("scratch").unwrap().id, volume);
    assert_eq!(list.group(GroupId(1)).len(), 1);
    // The heartbeats register again by themselves.
    eventually("the MRC says that it leads", async || dir.list().await.group(GroupId(1))[0].leader)
        .await;
    assert_eq!(*osd.keys().borrow(), keys);
    assert_eq!(claim(&dir, "scratch", GroupId(1)).await, Ok(volume));
    assert!(matches!(claim(&dir, "a/b", GroupId(1)).await, Err(Error::Invalid(_))));
    dir.stop().await;
}

#[tokio::test]
async fn a_wrong_clock_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    for (skew_ms, side) in [(7_300, "s ahead of the DIR's"), (-7_300, "s behind the DIR's")] {
        let said = Said::target(TargetId::generate());
        let who = Registrant { clock: Arc::new(Wrong(skew_ms)), ..said.registrant(7) };
        let refused = join(&dir, who).await.unwrap_err().to_string();
        assert!(refused.contains(side) && refused.contains("chrony"), "{refused}");
    }
    let who = Registrant {
        clock: Arc::new(Wrong(3_000)),
        ..Said::target(TargetId::generate()).registrant(7)
    };
    join(&dir, who).await.unwrap();
    dir.stop().await;
}

#[tokio::test]
async fn another_cluster_or_protocol_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let directory = dir.directory();
    let refused = directory.list(ClusterId::generate(), DEADLINE).await.unwrap_err();
    assert!(matches!(refused, Error::WrongCluster(_)), "{refused}");

    let describe = |mut client: xtfs_rpc::DirService, _| async move {
        let header = v1::RequestHeader { protocol: 99, ..Header::new(None).into() };
        client.describe(v1::DescribeRequest { header: Some(header) }).await
    };
    let refused = directory.call(DEADLINE, describe).await.unwrap_err();
    assert!(matches!(refused, Error::WrongProtocol(_)), "{refused}");

    let said = Said::target(TargetId::generate());
    let who = Registrant { cluster: Some(ClusterId::generate()), ..said.registrant(7) };
    let refused = join(&dir, who).await.unwrap_err().to_string();
    assert!(refused.contains("but the DIR keeps cluster"), "{refused}");
    dir.stop().await;
}

#[tokio::test]
async fn a_dead_member_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    // Nobody listens on a port that was just free.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead: Address = free.local_addr().unwrap().into();
    drop(free);
    let members: DirAddresses = format!("{dead},{}", dir.address()).parse().unwrap();
    let directory = Directory::new(Connector::new(), &members);
    assert_eq!(directory.describe(DEADLINE).await, Ok(dir.cluster));

    let alone = Directory::new(Connector::new(), &DirAddresses::new(dead.clone()));
    let err = alone.describe(Duration::from_secs(2)).await.unwrap_err();
    assert!(err.is_retryable(), "{err}");
    assert!(err.to_string().contains(&dead.to_string()), "{err}");
    assert!(err.to_string().to_lowercase().contains("refused"), "{err}");
    dir.stop().await;
}

#[tokio::test]
async fn the_list_outlives_the_dir() {
    let root = tempfile::tempdir().unwrap();
    let dir = TestDir::start(root.path()).await;
    let id = TargetId::generate();
    let _osd = join(&dir, Said::target(id).registrant(7)).await.unwrap();
    let (cluster, directory) = (dir.cluster, dir.directory());
    let cache = Some(root.path().join("services"));
    let watch = |cache| {
        let directory = directory.clone();
        async move { DirectoryWatch::start(directory, cluster, cache, Duration::from_secs(3)).await }
    };
    let first = watch(cache.clone()).await.unwrap();
    dir.stop().await;
    assert!(first.current().target(id).is_some());
    let second = watch(cache).await.expect("the cached list is used");
    assert!(second.current().target(id).unwrap().alive);
    assert!(watch(None).await.is_err());
}
