//! Sizes, truncation and deletion: the rules R2 to R8.

use xtfs_core::{Error, TargetId};
use xtfs_proto::v1;

use xtfs_rpc::call;

use crate::world::{WAIT_MAX, World, columns, eventually};

fn ino(opened: &v1::OpenReply) -> u64 {
    opened.attributes.as_ref().unwrap().ino
}

fn report(opened: &v1::OpenReply, end: u64, mtime_ns: i64) -> Option<v1::WriteReport> {
    let file_epoch = opened.grant.as_ref().unwrap().file_epoch;
    Some(v1::WriteReport { file_epoch, end, mtime_ns, columns: Vec::new() })
}

#[tokio::test]
async fn r2_r3_a_size_is_the_columns_until_the_writer_reports_it() {
    let world = World::start(4, 20).await;
    let client = world.mount(4).await;
    let opened = client.create("a").await.unwrap();
    assert!(opened.created && opened.grant.as_ref().unwrap().write);
    let placed = columns(client.volume, &opened);
    let mut targets: Vec<TargetId> = placed.iter().map(|(target, _)| *target).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 4, "no target has two columns");
    for (target, _) in &placed {
        world.osds.on(*target, |target| assert_eq!(target.sets.len(), 1, "it knows its set"));
    }
    let later = opened.attributes.as_ref().unwrap().mtime_ns + 1_000_000_000;
    let (target, column) = placed[1];
    world.osds.write(target, column, 100, later);
    let seen = client.stat(ino(&opened)).await.unwrap();
    assert_eq!((seen.size, seen.mtime_ns), (4096 + 100, later));
    // Somebody else sees it, too.
    let other = world.mount(4).await;
    assert_eq!(other.stat(ino(&opened)).await.unwrap().size, 4096 + 100);
    world.silence(target, true);
    let undecided = client.stat(ino(&opened)).await.unwrap_err();
    assert!(undecided.is_retryable(), "{undecided}");
    client.close(ino(&opened), report(&opened, 4096 + 100, later)).await.unwrap();
    let settled = client.stat(ino(&opened)).await.unwrap();
    assert_eq!((settled.size, settled.mtime_ns), (4096 + 100, later), "no column is asked");
}

#[tokio::test]
async fn r3_after_several_writers_the_columns_are_asked() {
    let world = World::start(2, 20).await;
    let (first, second) = (world.mount(2).await, world.mount(2).await);
    let opened = first.create("a").await.unwrap();
    let again = second.open(ino(&opened), true, false).await.unwrap();
    let (target, column) = columns(first.volume, &opened)[0];
    world.osds.write(target, column, 300, 1);
    second.close(ino(&opened), report(&again, 100, 1)).await.unwrap();
    first.close(ino(&opened), report(&opened, 200, 1)).await.unwrap();
    eventually("the size is settled", async || first.status().await.settlements_pending == 0).await;
    world.silence(target, true);
    assert_eq!(first.stat(ino(&opened)).await.unwrap().size, 300);
}

#[tokio::test]
async fn r4_the_size_is_settled_after_a_writers_death() {
    let world = World::start(2, 2).await;
    let mut writer = world.mount(2).await;
    let reader = world.mount(2).await;
    let opened = writer.create("a").await.unwrap();
    let (target, column) = columns(writer.volume, &opened)[1];
    world.osds.write(target, column, 10, 1);
    world.silence(target, true);
    writer.die();
    eventually("the session expires", async || reader.status().await.sessions == 1).await;
    let refused = reader.open(ino(&opened), true, false).await.unwrap_err();
    assert!(refused.is_retryable(), "a column may still change: {refused}");
    world.silence(target, false);
    eventually("the column is sealed", async || reader.status().await.settlements_pending == 0)
        .await;
    let sealed = world.osds.on(target, |target| target.columns[&column].file_epoch);
    assert!(sealed > opened.grant.as_ref().unwrap().file_epoch);
    world.silence(target, true);
    assert_eq!(reader.stat(ino(&opened)).await.unwrap().size, 4096 + 10);
}

#[tokio::test]
async fn r6_a_silent_column_does_not_fail_a_truncation() {
    let mut world = World::start(2, 20).await;
    let client = world.mount(2).await;
    let opened = client.create("a").await.unwrap();
    let placed = columns(client.volume, &opened);
    for (target, column) in &placed {
        world.osds.write(*target, *column, 4096, 1);
    }
    client.close(ino(&opened), report(&opened, 8192, 1)).await.unwrap();
    let (target, column) = placed[1];
    world.silence(target, true);
    assert_eq!(client.resize(ino(&opened), 10).await.unwrap().size, 10);
    // The floor survives, and the column is cut when it is back.
    world.restart().await;
    let tool = world.tool();
    assert_eq!(tool.status().await.settlements_pending, 1);
    assert_eq!(world.osds.on(target, |target| target.columns[&column].length), 4096);
    world.silence(target, false);
    eventually("the cut is confirmed", async || tool.status().await.settlements_pending == 0).await;
    assert_eq!(world.osds.on(target, |target| target.columns[&column].length), 0);
}

#[tokio::test]
async fn r12_all_columns_refuse_who_does_not_know_of_set_ids() {
    let world = World::start(2, 20).await;
    let (writer, other) = (world.mount(2).await, world.mount(2).await);
    let opened = writer.create("a").await.unwrap();
    let (file, old) = (ino(&opened), opened.grant.as_ref().unwrap().file_epoch);
    let placed = columns(writer.volume, &opened);
    for (target, column) in &placed {
        world.osds.write(*target, *column, 50, 1);
    }
    let chmod = |mode| v1::SetAttrRequest {
        header: other.numbered(),
        volume: other.volume,
        ino: file,
        mode: Some(mode),
        ..Default::default()
    };
    let request = chmod(0o4755);
    let set = call(WAIT_MAX, other.mrc.clone().set_attr(request)).await.unwrap();
    assert_eq!(set.attributes.unwrap().mode, 0o4755);
    for (target, column) in &placed {
        let column = world.osds.on(*target, |target| target.columns[column]);
        assert!(column.length == 50 && column.file_epoch > old);
    }
    let renew =
        v1::RenewRequest { header: writer.plain(), volume: writer.volume, ino: file, write: true };
    let renewed = call(WAIT_MAX, writer.mrc.clone().renew(renew)).await.unwrap();
    assert_eq!(renewed.attributes.unwrap().mode, 0o4755);
    let epoch = renewed.grant.unwrap().file_epoch;
    assert!(epoch > old);
    // Of what is known already nobody is told.
    call(WAIT_MAX, other.mrc.clone().set_attr(chmod(0o4711))).await.unwrap();
    let column = world.osds.on(placed[0].0, |target| target.columns[&placed[0].1]);
    assert_eq!(column.file_epoch, epoch);
}

#[tokio::test]
async fn an_open_with_truncate_gives_a_capability_over_the_empty_file() {
    let world = World::start(2, 20).await;
    let client = world.mount(2).await;
    let opened = client.create("a").await.unwrap();
    let (target, column) = columns(client.volume, &opened)[0];
    world.osds.write(target, column, 50, 1);
    client.close(ino(&opened), report(&opened, 50, 1)).await.unwrap();
    let cut = client.open(ino(&opened), true, true).await.unwrap();
    assert_eq!(cut.attributes.as_ref().unwrap().size, 0);
    let (before, after) = (opened.grant.as_ref().unwrap(), cut.grant.as_ref().unwrap());
    assert!(after.file_epoch > before.file_epoch);
    let column = world.osds.on(target, |target| target.columns[&column]);
    assert_eq!((column.length, column.file_epoch), (0, after.file_epoch));
    assert_eq!(client.stat(ino(&opened)).await.unwrap().size, 0);
}

#[tokio::test]
async fn r3_the_only_writer_is_believed_without_asking_a_column() {
    let world = World::start(2, 20).await;
    let (client, other) = (world.mount(2).await, world.mount(2).await);
    let opened = client.create("a").await.unwrap();
    let file = ino(&opened);
    for (target, _) in columns(client.volume, &opened) {
        world.silence(target, true);
    }
    let told = report(&opened, 70, 5_000_000_000_000_000_000);
    let seen = client.stat_telling(file, told.clone()).await.unwrap();
    assert_eq!((seen.size, seen.mtime_ns), (70, 5_000_000_000_000_000_000));
    // Of another epoch, of another session, or beside a second writer it says nothing.
    let mut old = told.clone().unwrap();
    old.file_epoch = 0;
    assert!(client.stat_telling(file, Some(old)).await.unwrap_err().is_retryable());
    assert!(other.stat_telling(file, told.clone()).await.unwrap_err().is_retryable());
    // The open itself wants to tell the size.
    other.open(file, true, false).await.unwrap_err();
    assert!(client.stat_telling(file, told).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn p2_an_open_that_is_repeated_does_not_cut_what_was_written_since() {
    let world = World::start(2, 20).await;
    let client = world.mount(2).await;
    let made = client.create("a").await.unwrap();
    let (target, column) = columns(client.volume, &made)[0];
    world.osds.write(target, column, 50, 1);
    client.close(ino(&made), report(&made, 50, 1)).await.unwrap();
    let request = client.open_request(ino(&made), true, true);
    let opened = client.send_open(request.clone()).await.unwrap();
    world.osds.write(target, column, 30, 2);
    // As after a term that the client has not seen.
    let again = client.send_open(request).await.unwrap();
    assert_eq!(again.grant.unwrap().file_epoch, opened.grant.unwrap().file_epoch);
    assert_eq!(world.osds.on(target, |target| target.columns[&column].length), 30);
    assert_eq!(client.stat(ino(&made)).await.unwrap().size, 30);
}

#[tokio::test]
async fn r8_a_file_is_deleted_after_its_last_close_and_through_a_restart() {
    let mut world = World::start(2, 2).await;
    let client = world.mount(2).await;
    let opened = client.create("a").await.unwrap();
    let placed = columns(client.volume, &opened);
    for (target, column) in &placed {
        world.osds.write(*target, *column, 4096, 1);
    }
    let other = client.create("b").await.unwrap();
    client.close(ino(&other), None).await.unwrap();
    client.unlink("a").await.unwrap();
    client.unlink("b").await.unwrap();
    // The second is deleted although the first, which is held open, waits.
    eventually("b is deleted", async || client.status().await.deletions_pending == 1).await;
    assert_eq!(world.osds.columns(), 2);
    world.silence(placed[1].0, true);
    client.close(ino(&opened), None).await.unwrap();
    eventually("one column goes", async || world.osds.columns() == 1).await;
    drop(client);
    world.restart().await;
    world.silence(placed[1].0, false);
    let tool = world.tool();
    eventually("the other goes", async || world.osds.columns() == 0).await;
    eventually("the row goes", async || tool.status().await.deletions_pending == 0).await;
}

#[tokio::test]
async fn new_files_avoid_a_target_that_does_not_answer() {
    let world = World::start(3, 20).await;
    let client = world.mount(3).await;
    world.silence(world.targets[0], true);
    let opened = client.create("a").await.unwrap();
    let placed = columns(client.volume, &opened);
    assert_eq!(placed.len(), 2);
    assert!(placed.iter().all(|(target, _)| *target != world.targets[0]));
    world.dir.targets.lock().clear();
    eventually("no target is left", async || {
        matches!(client.create("b").await, Err(Error::Unavailable(_)))
    })
    .await;
}
