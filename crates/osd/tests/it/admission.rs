//! What an OSD refuses, and with which error.

use std::time::Duration;

use xtfs_core::capability::{Capability, Key, Rights};
use xtfs_core::{
    Clock, ClusterId, DataNumber, Error, FileEpoch, Floor, PROTOCOL_VERSION, SetEpoch,
};
use xtfs_proto::{Header, v1};

use crate::fixture::{EPOCH, Fixture, SET, SET_EPOCH};

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_must_be_genuine_and_right() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    let write = || osd.write(0, vec![1; 10]);
    let own = osd.capability();

    let forged = own.sign(&Key::new(1, vec![8; 32])).into();
    let refused = stream.call(v1::IoRequest { capability: forged, ..write() }).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let refused = stream.call(v1::IoRequest { capability: Default::default(), ..write() }).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let other = Capability { data: DataNumber(99), ..own };
    let refused = stream.call(osd.with(other, write())).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let reading = Capability { rights: Rights::Read, ..own };
    let refused = stream.call(osd.with(reading, write())).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    assert!(stream.call(osd.with(reading, osd.read(0, 4096))).await.is_ok());

    assert!(stream.call(write()).await.is_ok());
    let kept = write();
    osd.clock.advance(Duration::from_secs(64));
    assert!(stream.call(kept.clone()).await.is_ok(), "the grace is not over");
    osd.clock.advance(Duration::from_secs(2));
    assert_eq!(stream.call(kept).await.unwrap_err(), Error::CapabilityExpired);
    assert!(osd.clock.now() > own.expires);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_must_be_known_and_at_its_epoch() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    let write = |set, set_epoch| v1::IoRequest { set, set_epoch, ..osd.write(0, vec![1; 10]) };
    assert_eq!(stream.call(write(99, SET_EPOCH)).await.unwrap_err(), Error::UnknownSet);
    osd.configure(0, SET, SET_EPOCH + 1, osd.target(0)).await;
    let stale = Error::StaleSetEpoch { current: SetEpoch(SET_EPOCH + 1) };
    assert_eq!(stream.call(write(SET, SET_EPOCH)).await.unwrap_err(), stale);
    assert!(stream.call(write(SET, SET_EPOCH + 1)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_epoch_cuts_first_and_then_refuses_lower_ones() {
    let osd = Fixture::start(1).await;
    let mut stream = osd.stream(0, 1).await;
    stream.call(osd.write(0, vec![1; 20_000])).await.unwrap();
    let higher =
        Capability { file_epoch: FileEpoch(EPOCH + 1), floor: Floor(6000), ..osd.capability() };
    let read = stream.call(osd.with(higher, osd.read(0, 32 << 10))).await.unwrap();
    assert_eq!((read.length, read.column_length), (6000, 6000));
    let stale = Error::StaleFileEpoch { current: FileEpoch(EPOCH + 1) };
    assert_eq!(stream.call(osd.write(0, vec![1; 10])).await.unwrap_err(), stale);
    // The same epoch again cuts nothing.
    stream.call(osd.with(higher, osd.write(0, vec![1; 9000]))).await.unwrap();
    let read = stream.call(osd.with(higher, osd.read(0, 32 << 10))).await.unwrap();
    assert_eq!(read.length, 9000);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_who_they_met() {
    let osd = Fixture::start(1).await;
    let other = Header::new(Some(ClusterId::generate())).into();
    let hello = v1::HelloRequest { header: Some(other), ..osd.hello(0, 1) };
    let (_stream, refused) = osd.stream_with(hello).await;
    assert!(matches!(refused, Err(Error::WrongCluster(_))), "{refused:?}");

    let mut header: v1::RequestHeader = osd.header().unwrap();
    header.protocol = PROTOCOL_VERSION + 1;
    let hello = v1::HelloRequest { header: Some(header), ..osd.hello(0, 1) };
    let (mut stream, refused) = osd.stream_with(hello).await;
    assert!(matches!(refused, Err(Error::WrongProtocol(_))), "{refused:?}");
    assert!(stream.next().await.is_err(), "the stream goes on");
}
