//! Holes and room over the wire: the same rules as for writes.

use std::time::Duration;

use xtfs_core::capability::{Capability, Rights};
use xtfs_core::{Error, FileEpoch};
use xtfs_proto::v1;
use xtfs_rpc::call;

use crate::fixture::{EPOCH, Fixture, SET, SET_EPOCH, column};

fn span(osd: &Fixture, kind: v1::IoKind, offset: u64, span: u64, keep: bool) -> v1::IoRequest {
    let request = osd.read(0, 0);
    v1::IoRequest { kind: kind.into(), offset, span, keep_length: keep, mtime_ns: 99, ..request }
}

fn next_data(osd: &Fixture, offset: u64) -> v1::IoRequest {
    v1::IoRequest { kind: v1::IoKind::NextData.into(), ..osd.read(offset, 0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_made_found_and_filled_up() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 100_000])).await.unwrap();
    let punch = span(&osd, v1::IoKind::Punch, 5000, 60_000, true);
    let punched = stream.call(punch).await.unwrap();
    assert_eq!((punched.column_length, punched.mtime_ns), (100_000, 99));
    let read = stream.call(osd.read(4096, 8192)).await.unwrap();
    assert_eq!(&read.data[..904], &[5; 904][..]);
    assert!(read.data[904..].iter().all(|&byte| byte == 0));
    let first = stream.call(next_data(&osd, 0)).await.unwrap();
    assert_eq!((first.data_start, first.data_end), (0, 8192));
    let second = stream.call(next_data(&osd, 8192)).await.unwrap();
    assert_eq!((second.data_start, second.data_end), (61_440, 102_400));
    let none = stream.call(next_data(&osd, 1 << 20)).await.unwrap();
    assert_eq!((none.data_start, none.data_end), (0, 0));
    let zeroed = stream.call(span(&osd, v1::IoKind::Punch, 99_000, 51_000, false)).await.unwrap();
    assert_eq!(zeroed.column_length, 150_000);
    let taken = stream.call(span(&osd, v1::IoKind::Allocate, 0, 1 << 20, true)).await.unwrap();
    assert_eq!(taken.column_length, 150_000);
    assert!(taken.allocated >= 1 << 20);
    let grown = stream.call(span(&osd, v1::IoKind::Allocate, 0, 1 << 20, false)).await.unwrap();
    assert_eq!(grown.column_length, 1 << 20);
    let given_back = stream.call(span(&osd, v1::IoKind::Punch, 0, 2 << 20, true)).await.unwrap();
    assert_eq!(given_back.column_length, 1 << 20);
    assert!(given_back.allocated < 64 << 10, "{}", given_back.allocated);
    let far = stream.call(span(&osd, v1::IoKind::Allocate, 1 << 62, 1 << 62, true)).await;
    assert_eq!(far.unwrap_err(), Error::FileTooLarge);
    let huge = stream.call(span(&osd, v1::IoKind::Allocate, 0, 1 << 60, true)).await;
    assert!(matches!(huge, Err(Error::NoSpace(_))), "{huge:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_needs_the_rights_and_the_epochs_of_a_write() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 10_000])).await.unwrap();
    let reading = Capability { rights: Rights::Read, ..osd.capability() };
    for kind in [v1::IoKind::Punch, v1::IoKind::Allocate] {
        let request = || span(&osd, kind, 0, 8192, false);
        let refused = stream.call(osd.with(reading, request())).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        let unknown = v1::IoRequest { set: 1234, ..request() };
        assert_eq!(stream.call(unknown).await.unwrap_err(), Error::UnknownSet);
    }
    assert!(stream.call(osd.with(reading, next_data(&osd, 0))).await.is_ok());
    let higher = Capability { file_epoch: FileEpoch(EPOCH + 1), ..osd.capability() };
    stream.call(osd.with(higher, osd.read(0, 4096))).await.unwrap();
    let stale = Error::StaleFileEpoch { current: FileEpoch(EPOCH + 1) };
    for kind in [v1::IoKind::Punch, v1::IoKind::Allocate] {
        assert_eq!(stream.call(span(&osd, kind, 0, 8192, false)).await.unwrap_err(), stale);
    }
    assert_eq!(stream.call(next_data(&osd, 0)).await.unwrap_err(), stale);
    let _newer = osd.stream(0, 2).await;
    let late = osd.with(higher, span(&osd, v1::IoKind::Punch, 0, 8192, true));
    assert_eq!(stream.call(late).await.unwrap_err(), Error::StaleConnection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_punch_that_comes_alone_obeys_the_same_rules() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![5; 10_000])).await.unwrap();
    let punch = |generation, capability: Capability| v1::PunchRequest {
        header: osd.header(),
        target: osd.wire_target(0),
        client: osd.hello(0, 1).client,
        generation,
        column: Some(column().into()),
        offset: 100,
        length: 5000,
        set: SET,
        set_epoch: SET_EPOCH,
        capability: osd.with(capability, osd.read(0, 0)).capability,
        mtime_ns: 5,
    };
    let send = async |request| call(Duration::from_secs(30), osd.osd().punch(request)).await;
    let own = osd.capability();
    let reply = send(punch(1, own)).await.unwrap();
    assert_eq!(reply.column_length, 10_000);
    let read = stream.call(osd.read(0, 8192)).await.unwrap();
    assert_eq!(&read.data[..100], &[5; 100][..]);
    assert!(read.data[100..5100].iter().all(|&byte| byte == 0));
    assert!(read.data[5100..].iter().all(|&byte| byte == 5));
    let refused = send(punch(1, Capability { rights: Rights::Read, ..own })).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let _newer = osd.stream(0, 2).await;
    assert_eq!(send(punch(1, own)).await.unwrap_err(), Error::StaleConnection);
    let higher = Capability { file_epoch: FileEpoch(EPOCH + 1), ..own };
    send(punch(2, higher)).await.unwrap();
    let stale = Error::StaleFileEpoch { current: FileEpoch(EPOCH + 1) };
    assert_eq!(send(punch(2, own)).await.unwrap_err(), stale);
}
