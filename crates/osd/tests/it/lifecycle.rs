//! Starts, stops, and what damage does.

use std::path::{Path, PathBuf};

use xtfs_core::{ClusterId, Error};
use xtfs_osd::Targets;

use crate::fixture::{Fixture, sync};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_process_keeps_data_and_boot_number() {
    let mut osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    let before = stream.call(osd.write(0, vec![4; 10_000])).await.unwrap();
    osd.restart().await;
    let mut stream = osd.stream(0, 1).await;
    let read = stream.call(osd.read(0, 12 << 10)).await.unwrap();
    assert_eq!((read.length, read.boot), (10_000, before.boot));
    assert!(read.data.iter().take(10_000).all(|&byte| byte == 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_open_streams() {
    let mut osd = Fixture::start(1).await;
    let mut idle = osd.stream(0, 1).await;
    let mut busy = osd.stream(0, 2).await;
    busy.requests.send(osd.write(0, vec![4; 1 << 20])).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), osd.close()).await.unwrap();
    assert!(idle.next().await.is_err());
    // The write was answered, or was never taken; then the stream ended.
    while busy.next().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_spoils_its_block_only() {
    let mut osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    let data: Vec<u8> = (0..3).flat_map(|block| [0xa1 + block; 4096]).collect();
    stream.call(osd.write(0, data)).await.unwrap();
    stream.call(sync()).await.unwrap();
    osd.close().await;
    flip(&osd.path(0), &[0xa2; 4096]);
    osd.open().await;
    let mut stream = osd.stream(0, 1).await;
    assert_eq!(stream.call(osd.read(0, 4096)).await.unwrap().data[0], 0xa1);
    let refused = stream.call(osd.read(4096, 4096)).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    assert_eq!(stream.call(osd.read(8192, 4096)).await.unwrap().data[0], 0xa3);
    assert!(osd.metrics().contains("xtfs_osd_corrupt_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_open_leaves_the_other_target_serving() {
    let mut osd = Fixture::start(2).await;
    osd.close().await;
    std::fs::write(osd.path(0).join("meta/CURRENT"), "garbage").unwrap();
    osd.open().await;
    let (_stream, refused) = osd.stream_with(osd.hello(0, 1)).await;
    assert!(refused.is_ok(), "the target is known, its store is what fails");
    let mut broken = osd.stream(0, 2).await;
    let refused = broken.call(osd.read(0, 4096)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    let mut sound = osd.stream(1, 1).await;
    sound.call(osd.write(0, vec![1; 10])).await.unwrap();
    osd.close().await;
    std::fs::write(osd.path(1).join("meta/CURRENT"), "garbage").unwrap();
    let refused = Targets::open(osd.config(), osd.cluster).await.unwrap_err().to_string();
    assert!(refused.contains("osd0") && refused.contains("osd1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_another_cluster_is_refused() {
    let mut osd = Fixture::start(1).await;
    osd.close().await;
    let refused = Targets::open(osd.config(), ClusterId::generate()).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to cluster"), "{refused}");
}

/// Flips a bit where `pattern` stands on the disk.
fn flip(dir: &Path, pattern: &[u8]) {
    for path in files(dir) {
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.chunks(pattern.len()).position(|block| block == pattern);
        if let Some(at) = at {
            bytes[at * pattern.len() + 100] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the pattern is not on the disk");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
