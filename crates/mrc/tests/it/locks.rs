//! Locks: tried, waited for, given back by close, end of session and expiry; kept through a restart.

use std::time::Duration;

use xtfs_core::{Error, Result};
use xtfs_proto::v1;
use xtfs_rpc::call;

use crate::world::{Client, World};

const WAIT: Duration = Duration::from_secs(30);

fn request(client: &Client, ino: u64, owner: u64, kind: v1::LockKind) -> v1::LockRequest {
    v1::LockRequest {
        header: client.plain(),
        volume: client.volume,
        ino,
        owner,
        kind: kind.into(),
        start: 0,
        end: u64::MAX,
        pid: 77,
        process: owner,
        ..Default::default()
    }
}

async fn lock(client: &Client, ino: u64, owner: u64, kind: v1::LockKind) -> Result<()> {
    let header = client.numbered();
    let request = v1::LockRequest { header, ..request(client, ino, owner, kind) };
    call(WAIT, client.mrc.clone().lock(request)).await.map(drop)
}

/// As a client does: waits and tries, until it has the lock.
async fn wait_for(client: &Client, ino: u64, owner: u64) -> Result<()> {
    let mut ticket = 0;
    loop {
        let wait = request(client, ino, owner, v1::LockKind::Exclusive);
        let wait = v1::LockRequest { ticket, ..wait };
        let reply = call(WAIT, client.mrc.clone().wait_lock(wait)).await?;
        ticket = reply.ticket;
        if !reply.free {
            continue;
        }
        match lock(client, ino, owner, v1::LockKind::Exclusive).await {
            Err(Error::Locked | Error::Unavailable(_)) => {}
            done => return done,
        }
    }
}

#[tokio::test]
async fn a_wait_ends_with_unlock_close_and_expiry() {
    let world = World::start(1, 2).await;
    let mut holder = world.mount(1).await;
    let other = world.mount(1).await;
    let ino = holder.create("f").await.unwrap().attributes.unwrap().ino;
    other.open(ino, false, false).await.unwrap();
    for way in 0..3 {
        lock(&holder, ino, 1, v1::LockKind::Exclusive).await.unwrap();
        let refused = lock(&other, ino, 1, v1::LockKind::Shared).await;
        assert_eq!(refused.unwrap_err(), Error::Locked);
        let test = request(&other, ino, 1, v1::LockKind::Shared);
        let held = call(WAIT, other.mrc.clone().test_lock(test)).await.unwrap().conflict.unwrap();
        assert_eq!((held.kind(), held.pid), (v1::LockKind::Exclusive, 77));
        assert!(held.elsewhere);
        let give_back = async {
            match way {
                0 => lock(&holder, ino, 1, v1::LockKind::Unlock).await.unwrap(),
                1 => holder.close(ino, None).await.unwrap(),
                _ => holder.die(),
            }
        };
        let (got, ()) = tokio::join!(wait_for(&other, ino, 1), give_back);
        got.unwrap();
        lock(&other, ino, 1, v1::LockKind::Unlock).await.unwrap();
        if way == 1 {
            holder.open(ino, true, false).await.unwrap();
        }
    }
}

#[tokio::test]
async fn locks_outlive_a_restart() {
    let mut world = World::start(1, 20).await;
    let mut holder = world.mount(1).await;
    let mut other = world.mount(1).await;
    let ino = holder.create("f").await.unwrap().attributes.unwrap().ino;
    other.open(ino, false, false).await.unwrap();
    lock(&holder, ino, 1, v1::LockKind::Exclusive).await.unwrap();
    world.restart().await;
    for client in [&mut holder, &mut other] {
        client.mrc = world.tool().mrc.clone();
    }
    // Others may have more than what is known.
    let refused = lock(&other, ino, 1, v1::LockKind::Exclusive).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    holder.keep_alive().await;
    other.keep_alive().await;
    let refused = loop {
        match lock(&other, ino, 1, v1::LockKind::Exclusive).await {
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            refused => break refused,
        }
    };
    assert_eq!(refused.unwrap_err(), Error::Locked);
    lock(&holder, ino, 1, v1::LockKind::Unlock).await.unwrap();
    lock(&other, ino, 1, v1::LockKind::Exclusive).await.unwrap();
}

/// What a power cut leaves: the grant is gone, its holder is not.
#[tokio::test]
async fn a_lost_lock_comes_back_before_anybody_else_has_it() {
    let mut world = World::start(1, 20).await;
    let mut holder = world.mount(1).await;
    let mut other = world.mount(1).await;
    let mut third = world.mount(1).await;
    let ino = holder.create("f").await.unwrap().attributes.unwrap().ino;
    for client in [&other, &third] {
        client.open(ino, false, false).await.unwrap();
    }
    // The third's unlock was lost as well as the holder's lock.
    lock(&third, ino, 1, v1::LockKind::Exclusive).await.unwrap();
    world.restart().await;
    for client in [&mut holder, &mut other, &mut third] {
        client.mrc = world.tool().mrc.clone();
    }
    other.keep_alive().await;
    let again = || v1::LockRequest {
        header: holder.numbered(),
        attempt: v1::LockAttempt::Lost.into(),
        ..request(&holder, ino, 1, v1::LockKind::Exclusive)
    };
    let refused = call(WAIT, holder.mrc.clone().lock(again())).await.map(drop);
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    lock(&third, ino, 1, v1::LockKind::Unlock).await.unwrap();
    let refused = lock(&other, ino, 1, v1::LockKind::Exclusive).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    call(WAIT, holder.mrc.clone().lock(again())).await.unwrap();
    holder.keep_alive().await;
    third.keep_alive().await;
    let refused = loop {
        match lock(&other, ino, 1, v1::LockKind::Exclusive).await {
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            refused => break refused,
        }
    };
    assert_eq!(refused.unwrap_err(), Error::Locked);
}

#[tokio::test]
async fn who_waits_puts_nothing_into_the_log() {
    let world = World::start(1, 20).await;
    let holder = world.mount(1).await;
    let other = world.mount(1).await;
    let ino = holder.create("f").await.unwrap().attributes.unwrap().ino;
    other.open(ino, false, false).await.unwrap();
    lock(&holder, ino, 1, v1::LockKind::Exclusive).await.unwrap();
    let wait = || request(&other, ino, 1, v1::LockKind::Exclusive);
    let before = call(WAIT, other.mrc.clone().test_lock(wait())).await.unwrap().log.unwrap().index;
    let refused = lock(&other, ino, 1, v1::LockKind::Exclusive).await;
    assert_eq!(refused.unwrap_err(), Error::Locked);
    let reply = call(WAIT, other.mrc.clone().wait_lock(wait())).await.unwrap();
    assert!(!reply.free && !reply.full);
    let after = call(WAIT, other.mrc.clone().test_lock(wait())).await.unwrap().log.unwrap().index;
    assert_eq!(before, after);
}

/// A dead writer may have held the lock, and goes on writing where it is not fenced yet.
#[tokio::test]
async fn r4_a_lock_waits_until_a_dead_writer_is_fenced() {
    let world = World::start(1, 2).await;
    let mut holder = world.mount(1).await;
    let other = world.mount(1).await;
    let ino = holder.create("f").await.unwrap().attributes.unwrap().ino;
    other.open(ino, false, false).await.unwrap();
    lock(&holder, ino, 1, v1::LockKind::Exclusive).await.unwrap();
    world.silence(world.targets[0], true);
    holder.die();
    let test = || request(&other, ino, 1, v1::LockKind::Exclusive);
    while call(WAIT, other.mrc.clone().test_lock(test())).await.unwrap().conflict.is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = lock(&other, ino, 1, v1::LockKind::Exclusive).await;
    assert_eq!(refused.unwrap_err(), Error::Locked);
    world.silence(world.targets[0], false);
    wait_for(&other, ino, 1).await.unwrap();
}

#[tokio::test]
async fn two_who_wait_for_each_other_are_told() {
    let world = World::start(1, 20).await;
    let a = world.mount(1).await;
    let b = world.mount(1).await;
    let f = a.create("f").await.unwrap().attributes.unwrap().ino;
    let g = a.create("g").await.unwrap().attributes.unwrap().ino;
    b.open(f, false, false).await.unwrap();
    b.open(g, false, false).await.unwrap();
    lock(&a, f, 1, v1::LockKind::Exclusive).await.unwrap();
    lock(&b, g, 1, v1::LockKind::Exclusive).await.unwrap();
    let refused = tokio::select! {
        of_a = wait_for(&a, g, 1) => of_a,
        of_b = wait_for(&b, f, 1) => of_b,
    };
    assert_eq!(refused.unwrap_err(), Error::Deadlock);
}
