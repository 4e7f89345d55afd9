//! Volumes and their space.

use std::time::Duration;

use xtfs_core::{Error, Result};
use xtfs_proto::v1;
use xtfs_rpc::call;

use crate::world::{G, World, eventually};

const WAIT: Duration = Duration::from_secs(10);

async fn delete(world: &World, name: &str, force: bool) -> Result<()> {
    let tool = world.tool();
    let request = v1::DeleteVolumeRequest { header: tool.plain(), name: name.into(), force };
    call(WAIT, tool.mrc.clone().delete_volume(request)).await.map(drop)
}

#[tokio::test]
async fn a_volume_is_made_changed_and_deleted_with_its_files() {
    let world = World::start(2, 2).await;
    let client = world.mount(2).await;
    let opened = client.create("a").await.unwrap();
    for (target, column) in crate::world::columns(client.volume, &opened) {
        world.osds.write(target, column, 10, 1);
    }
    client.close(opened.attributes.as_ref().unwrap().ino, None).await.unwrap();
    assert_eq!(world.make_volume("v", 1).await.unwrap_err(), Error::Exists);
    let wide = world.make_volume("wide", 3).await.unwrap_err();
    assert!(wide.to_string().contains("2 registered OSDs"), "{wide}");

    let tool = world.tool();
    let set = |key: &str, value: &str| v1::SetVolumeRequest {
        header: tool.plain(),
        name: "v".into(),
        settings: [(key.to_owned(), value.to_owned())].into(),
    };
    let reply = call(WAIT, tool.mrc.clone().set_volume(set("atime", "noatime"))).await.unwrap();
    assert_eq!(reply.volume.unwrap().policy.unwrap().atime, "noatime");
    let unknown = call(WAIT, tool.mrc.clone().set_volume(set("colour", "red"))).await;
    assert!(unknown.unwrap_err().to_string().contains("chown_non_root"));

    assert_eq!(delete(&world, "v", false).await, Err(Error::NotEmpty));
    assert!(world.dir.has_volume("v"));
    delete(&world, "v", true).await.unwrap();
    assert!(!world.dir.has_volume("v"), "the name is free");
    eventually("its columns go", async || world.osds.columns() == 0).await;
    assert_ne!(world.make_volume("v", 1).await.unwrap().id, client.volume);
}

#[tokio::test]
async fn df_counts_what_the_dir_lists() {
    let mut world = World::start(2, 20).await;
    let client = world.mount(2).await;
    let statfs = async || {
        let request = v1::VolumeRequest { header: client.plain(), volume: client.volume };
        call(WAIT, client.mrc.clone().statfs(request)).await.unwrap()
    };
    let before = statfs().await;
    assert_eq!((before.total_bytes, before.available_bytes), (200 * G, 160 * G));
    world.add_target();
    eventually("df grows", async || statfs().await.total_bytes == 300 * G).await;
    let used = world.tool();
    eventually("the new target is told", async || {
        // It gets files as soon as it is listed.
        let opened = client.create(&format!("f{}", used.status().await.open_files)).await.unwrap();
        let new = world.targets[2];
        crate::world::columns(client.volume, &opened).iter().any(|(target, _)| *target == new)
    })
    .await;
}
