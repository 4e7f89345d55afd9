//! Retries and their delayed duplicates (O2).

use xtfs_core::Error;
use xtfs_proto::v1;

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_hello_ends_the_older_stream() {
    let osd = Fixture::start(1).await;
    let mut old = osd.stream(0, 1).await;
    old.call(osd.write(0, vec![1; 10])).await.unwrap();
    let mut new = osd.stream(0, 2).await;
    assert_eq!(old.call(osd.write(0, vec![1; 10])).await.unwrap_err(), Error::StaleConnection);
    let (_stream, refused) = osd.stream_with(osd.hello(0, 1)).await;
    assert_eq!(refused.unwrap_err(), Error::StaleConnection);
    assert_eq!(osd.unary_hello(0, 2).await.unwrap_err(), Error::StaleConnection);
    new.call(osd.write(0, vec![1; 10])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_alone_need_a_hello_too() {
    let osd = Fixture::start(1).await;
    let write = || osd.write(0, vec![1; 10]);
    assert_eq!(osd.unary(0, 1, write()).await.unwrap_err(), Error::StaleConnection);
    osd.unary_hello(0, 1).await.unwrap();
    osd.unary(0, 1, write()).await.unwrap();
    osd.unary_hello(0, 2).await.unwrap();
    assert_eq!(osd.unary(0, 1, write()).await.unwrap_err(), Error::StaleConnection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_on_the_old_stream_never_lands_after_the_retry() {
    let osd = Fixture::start(1).await;
    let mut old = osd.stream(0, 1).await;
    for generation in 2..12 {
        const DUPLICATES: u64 = 100;
        for id in 1..=DUPLICATES {
            let write = v1::IoRequest { id, ..osd.write(0, vec![1; 4096]) };
            old.requests.send(write).await.unwrap();
        }
        let mut new = osd.stream(0, generation).await;
        new.call(osd.write(0, vec![2; 4096])).await.unwrap();
        for _ in 0..DUPLICATES {
            match old.next().await {
                Ok(_) | Err(Error::StaleConnection) => {}
                Err(err) => panic!("{err}"),
            }
        }
        let read = new.call(osd.read(0, 4096)).await.unwrap();
        assert!(read.data.iter().all(|&byte| byte == 2), "generation {generation}");
        old = new;
    }
}
