//! Reads, writes and syncs, over the stream and one by one.

use std::collections::HashSet;
use std::time::Duration;

use xtfs_core::{Error, TargetId};
use xtfs_proto::v1;
use xtfs_rpc::call;

use crate::fixture::{Fixture, column, sync};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_over_the_stream_is_read_alone_and_the_other_way_round() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    let first = vec![1; 300 << 10];
    let reply = stream.call(osd.write(0, first.clone())).await.unwrap();
    assert_eq!((reply.column_length, reply.mtime_ns), (300 << 10, 77));
    assert!(reply.allocated >= 300 << 10 && reply.boot > 0);
    stream.call(sync()).await.unwrap();
    let alone = osd.unary(0, 1, osd.read(0, 512 << 10)).await.unwrap();
    assert_eq!((alone.length, &alone.data[..]), (300 << 10, &first[..]));
    assert_eq!(alone.block_sums.len(), 75);

    osd.unary(0, 1, osd.write(4096, vec![2; 5000])).await.unwrap();
    let read = stream.call(osd.read(4096, 8192)).await.unwrap();
    assert_eq!(&read.data[..5000], &[2; 5000][..]);
    assert_eq!(&read.data[5000..], &[1; 8192 - 5000][..]);
    let durable = v1::IoRequest { kind: v1::IoKind::WriteSync.into(), ..osd.write(0, vec![3; 10]) };
    stream.call(durable).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_do_not_travel() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(64 << 10, vec![5; 4096])).await.unwrap();
    let read = stream.call(osd.read(0, 128 << 10)).await.unwrap();
    assert_eq!((read.length, read.data.len()), (68 << 10, 4096));
    assert_eq!(read.extents, [v1::Extent { offset: 64 << 10, length: 4096 }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_on_its_way_a_write_changes_nothing() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 4096])).await.unwrap();
    let damaged = v1::IoRequest { data: vec![6; 4096].into(), ..osd.write(0, vec![7; 4096]) };
    assert!(stream.call(damaged).await.is_err());
    let read = stream.call(osd.read(0, 4096)).await.unwrap();
    assert_eq!(&read.data[..], &[5; 4096]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mrc_s_requests_seal_stat_list_verify_and_delete() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 10_000])).await.unwrap();
    let seal = v1::SealRequest {
        header: osd.header(),
        target: osd.wire_target(0),
        column: Some(column().into()),
        layout: Some(v1::StripeLayout { stripe_size: 4096, stripe_width: 1 }),
        file_epoch: 9,
        floor: 5000,
        set: crate::fixture::SET,
        set_epoch: crate::fixture::SET_EPOCH,
    };
    let sealed = call(PATIENCE, osd.osd().seal(seal.clone())).await.unwrap().stat.unwrap();
    assert_eq!((sealed.length, sealed.file_epoch, sealed.exists), (5000, 9, true));
    let refused = stream.call(osd.write(0, vec![1; 10])).await.unwrap_err();
    assert_eq!(refused, Error::StaleFileEpoch { current: xtfs_core::FileEpoch(9) });
    let unknown = v1::SealRequest { set: 1234, ..seal };
    assert_eq!(call(PATIENCE, osd.osd().seal(unknown)).await.unwrap_err(), Error::UnknownSet);

    let (header, target) = (osd.header(), osd.wire_target(0));
    let columns = vec![column().into()];
    let stat = v1::StatRequest { header: header.clone(), target: target.clone(), columns };
    let stats = call(PATIENCE, osd.osd().stat(stat.clone())).await.unwrap().columns;
    assert_eq!((stats[0].length, stats[0].mtime_ns), (5000, 77));
    let list = v1::ListColumnsRequest {
        header: header.clone(),
        target: target.clone(),
        ..Default::default()
    };
    let listed = call(PATIENCE, osd.osd().list(list)).await.unwrap();
    assert_eq!((listed.columns.len(), listed.end), (1, true));
    let columns = stat.columns.clone();
    let verify = v1::VerifyRequest { header: header.clone(), target: target.clone(), columns };
    assert_eq!(call(PATIENCE, osd.osd().verify(verify)).await.unwrap().damages, []);

    let columns = stat.columns.clone();
    let delete = v1::DeleteRequest { header, target, columns, never_used: Vec::new() };
    call(PATIENCE, osd.osd().delete(delete)).await.unwrap();
    let stats = call(PATIENCE, osd.osd().stat(stat)).await.unwrap().columns;
    assert!(!stats[0].exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_replies_is_held_back_and_loses_nothing() {
    const REQUESTS: u64 = 300;
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 1 << 20])).await.unwrap();
    for id in 1..=REQUESTS {
        stream.requests.send(v1::IoRequest { id, ..osd.read(0, 1 << 20) }).await.unwrap();
    }
    // It fills up to the bound of a stream, and stays there.
    let bound = 64 << 20;
    let held = eventually(|| Some(in_flight(&osd)).filter(|bytes| *bytes > bound / 2)).await;
    assert!(held <= bound, "{held}");
    let mut answered = HashSet::new();
    for _ in 0..REQUESTS {
        let reply = stream.next().await.unwrap();
        assert_eq!(reply.data.len(), 1 << 20);
        assert!(answered.insert(reply.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_data_directories_are_two_targets() {
    let osd = Fixture::start(2).await;
    let mut first = osd.stream(0, 1).await;
    let mut second = osd.stream(1, 1).await;
    first.call(osd.write(0, vec![1; 4096])).await.unwrap();
    second.call(osd.write(0, vec![2; 4096])).await.unwrap();
    assert_eq!(first.call(osd.read(0, 4096)).await.unwrap().data[0], 1);
    assert_eq!(second.call(osd.read(0, 4096)).await.unwrap().data[0], 2);

    let strange = TargetId::generate().to_wire().into();
    let hello = v1::HelloRequest { target: strange, ..osd.hello(0, 2) };
    let (_stream, refused) = osd.stream_with(hello).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}

fn in_flight(osd: &Fixture) -> u64 {
    let text = osd.metrics();
    let lines = text.lines().filter(|line| line.contains("what=\"in_flight_bytes\""));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(tokio::time::Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
