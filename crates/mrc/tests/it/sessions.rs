//! Sessions: answered once, expired, kept through a restart.

use std::time::Duration;

use xtfs_core::{Error, SessionId};
use xtfs_proto::v1;
use xtfs_rpc::call;

use crate::world::{World, eventually};

const WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_repeated_request_is_carried_out_once() {
    let mut world = World::start(1, 20).await;
    let client = world.mount(1).await;
    let request = v1::MkdirRequest {
        header: client.numbered(),
        volume: client.volume,
        parent: 1,
        name: "d".to_owned().into(),
        mode: 0o755,
        umask: 0,
    };
    let first = call(WAIT, client.mrc.clone().mkdir(request.clone())).await.unwrap();
    let again = call(WAIT, client.mrc.clone().mkdir(request.clone())).await.unwrap();
    assert_eq!(first.attributes, again.attributes);
    let other = v1::MkdirRequest { header: client.numbered(), ..request.clone() };
    let refused = call(WAIT, client.mrc.clone().mkdir(other)).await;
    assert_eq!(refused.unwrap_err(), Error::Exists);
    let create = client.create_request("f");
    let made = call(WAIT, client.mrc.clone().create(create.clone())).await.unwrap();
    let repeated = call(WAIT, client.mrc.clone().create(create)).await.unwrap();
    assert!(made.created && repeated.created);
    assert_eq!(made.layout, repeated.layout);
    // Also by the next run of the server.
    world.restart().await;
    let after = call(WAIT, world.tool().mrc.mkdir(request)).await.unwrap();
    assert_eq!(after.attributes, first.attributes);
    assert!(after.log.as_ref().unwrap().term > first.log.as_ref().unwrap().term);
}

#[tokio::test]
async fn a_session_lives_through_a_restart_and_a_silent_one_expires() {
    let mut world = World::start(1, 2).await;
    let mut client = world.mount(1).await;
    world.restart().await;
    let tool = world.tool();
    assert_eq!(tool.status().await.sessions, 1);
    client.mrc = tool.mrc.clone();
    client.create("a").await.unwrap();
    client.die();
    eventually("it expires", async || tool.status().await.sessions == 0).await;
    assert_eq!(client.create("b").await.unwrap_err(), Error::SessionLost);
    // The same mount may open another.
    client.session = SessionId(0);
    client.open_session().await.unwrap();
    client.create("b").await.unwrap();
    let close = v1::CloseSessionRequest { header: client.plain() };
    call(WAIT, client.mrc.clone().close_session(close)).await.unwrap();
    assert_eq!(client.create("c").await.unwrap_err(), Error::SessionLost);
}

#[tokio::test]
async fn what_is_for_others_is_refused() {
    let world = World::start(1, 20).await;
    let client = world.mount(1).await;
    let foreign = |change: fn(&mut v1::RequestHeader)| {
        let mut header = client.plain().unwrap();
        change(&mut header);
        v1::StatusRequest { header: Some(header) }
    };
    let cluster = foreign(|header| header.cluster = vec![1; 16].into());
    let refused = call(WAIT, client.mrc.clone().status(cluster)).await.unwrap_err();
    assert!(matches!(refused, Error::WrongCluster(_)), "{refused}");
    let protocol = foreign(|header| header.protocol += 1);
    let refused = call(WAIT, client.mrc.clone().status(protocol)).await.unwrap_err();
    assert!(matches!(refused, Error::WrongProtocol(_)), "{refused}");
    let group = foreign(|header| header.group = 9);
    let refused = call(WAIT, client.mrc.clone().status(group)).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
}
