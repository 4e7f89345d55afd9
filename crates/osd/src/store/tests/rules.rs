//! Each rule of the store that a client or the MRC relies on.

use std::time::Duration;

use xtfs_core::{BootNumber, ReplicaSetId, SetEpoch};

use super::*;
use crate::store::ReplicaSet;

#[test]
fn a_lower_epoch_is_refused_and_a_higher_one_cuts_first() {
    let mut target = Target::small();
    let id = column(1);
    write(&target.store, id, fence(5, None), 0, &[7; 9000]).unwrap();
    let stale = Error::StaleFileEpoch { current: FileEpoch(5) };
    assert_eq!(write(&target.store, id, fence(4, None), 0, b"x").unwrap_err(), stale);
    assert_eq!(target.store.read(id, fence(4, None), 0, 4096).unwrap_err(), stale);
    assert_eq!(target.store.seal(id, fence(4, Some(0))).unwrap_err(), stale);
    // The same epoch does not cut.
    assert_eq!(target.store.seal(id, fence(5, Some(0))).unwrap().length, 9000);
    // A read with a higher epoch is a seal; it is durable.
    let out = target.store.read(id, fence(6, Some(5000)), 0, 12_288).unwrap();
    assert_eq!(filled(&out), [7; 5000]);
    target.kv.cut_power();
    target.restart();
    let state = target.store.stat(id).unwrap().unwrap();
    assert_eq!((state.length, state.file_epoch), (5000, FileEpoch(6)));
    // What was cut reads as zeros when the column grows again.
    write(&target.store, id, fence(6, None), 8999, b"x").unwrap();
    let out = target.store.read(id, fence(6, None), 4096, 8192).unwrap();
    let expected = [[7; 904].as_slice(), &[0; 3999], b"x"].concat();
    assert_eq!(filled(&out), expected);
}

#[test]
fn a_seal_of_an_unknown_column_holds() {
    let mut target = Target::small();
    assert_eq!(target.store.seal(column(1), fence(3, Some(0))).unwrap().length, 0);
    target.kv.cut_power();
    target.restart();
    let err = write(&target.store, column(1), fence(2, None), 0, b"x").unwrap_err();
    assert_eq!(err, Error::StaleFileEpoch { current: FileEpoch(3) });
}

#[test]
fn a_deleted_column_stays_away_until_its_tombstone_is_old() {
    let mut target = Target::small();
    target.write(column(1), 0, &[1; 50_000]).unwrap();
    target.store.delete(&[column(1), column(2)], Timestamp(0)).unwrap();
    target.kv.cut_power();
    target.restart();
    for id in [column(1), column(2)] {
        assert_eq!(target.write(id, 0, b"late").unwrap_err(), Error::NotFound);
        assert_eq!(target.read(id, 0, 4096).unwrap_err(), Error::NotFound);
        assert_eq!(target.store.stat(id).unwrap(), None);
    }
    assert!(!target.file(column(1), 0, false).exists());
    let age = Duration::from_nanos(10);
    assert_eq!(target.store.gc(Timestamp(9), age).unwrap(), 0);
    assert_eq!(target.store.gc(Timestamp(10), age).unwrap(), 2);
    target.restart();
    assert_eq!(target.read(column(1), 0, 4096).unwrap(), b"");
}

#[test]
fn numbers_that_were_never_used_are_dropped_and_refused() {
    let mut target = Target::small();
    let other_volume = ColumnId { volume: VolumeId::new(GroupId(1), 2), ..column(6) };
    let other_group = ColumnId { volume: VolumeId::new(GroupId(2), 1), ..column(6) };
    for id in [column(4), column(5), column(6), column(9), other_volume, other_group] {
        target.write(id, 0, b"data").unwrap();
    }
    // A file that lost its record in a power cut.
    std::fs::write(target.file(column(7), 0, false), b"stray").unwrap();
    assert_eq!(target.store.delete_data_range(GroupId(1), 5, 9, Timestamp(0)).unwrap(), 4);
    target.restart();
    let left: Vec<_> =
        target.store.list(None, 10, None).unwrap().into_iter().map(|c| c.0).collect();
    assert_eq!(left, [column(4), column(9), other_group]);
    assert!(!target.file(column(7), 0, false).exists());
    // Also one that nobody wrote yet.
    assert_eq!(target.write(column(8), 0, b"late").unwrap_err(), Error::NotFound);
}

#[test]
fn the_boot_number_is_new_when_the_host_is() {
    let mut target = Target::small();
    assert_eq!(target.store.boot(), BootNumber(1));
    target.restart();
    assert_eq!(target.store.boot(), BootNumber(1));
    target.reboot();
    assert_eq!(target.store.boot(), BootNumber(2));
    let environment = Environment::of(target.dir.path()).unwrap();
    assert_eq!(environment, Environment::of(target.dir.path()).unwrap());
}

#[test]
fn damaged_data_is_asked_for_again_before_anything_changes() {
    let target = Target::small();
    target.write(column(1), 0, &[1; 100]).unwrap();
    let data = [Bytes::from_static(b"new")];
    let err = target.store.write(column(1), OPEN, 0, &data, &[1], Timestamp(9)).unwrap_err();
    assert!(err.is_retryable(), "{err}");
    assert_eq!(target.read(column(1), 0, 4096).unwrap(), [1; 100]);
    let err = target.store.write(column(1), OPEN, 0, &data, &[], Timestamp(9)).unwrap_err();
    assert!(matches!(err, Error::Invalid(_)), "{err}");
    for (offset, length) in [(1, 4096), (0, 100)] {
        let err = target.read(column(1), offset, length).unwrap_err();
        assert!(matches!(err, Error::Invalid(_)), "{err}");
    }
    assert_eq!(target.write(column(1), u64::MAX - 1, b"xx").unwrap_err(), Error::FileTooLarge);
}

#[test]
fn holes_take_no_room_on_disk_and_in_replies() {
    let target = Target::large();
    target.write(column(1), 1 << 30, &[5; 4096]).unwrap();
    let state = target.store.stat(column(1)).unwrap().unwrap();
    assert!(state.allocated <= 64 << 10, "{} bytes", state.allocated);
    let out = target.store.read(column(1), OPEN, (1 << 30) - 65_536, 131_072).unwrap();
    assert_eq!((out.length, out.data.len(), out.extents.len()), (69_632, 4096, 1));
    // Zeros that were written are data, however their sum looks.
    target.write(column(2), 0, &[0; 200_000]).unwrap();
    assert_eq!(target.read(column(2), 0, 1 << 20).unwrap(), vec![0; 200_000]);
}

#[test]
fn columns_are_listed_page_by_page() {
    let target = Target::small();
    let other = ColumnId { volume: VolumeId::new(GroupId(1), 2), ..column(1) };
    for id in [column(3), other, column(1), column(2)] {
        target.write(id, 0, b"x").unwrap();
    }
    let ids = |after, limit, volume| -> Vec<_> {
        let page = target.store.list(after, limit, volume).unwrap();
        page.into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(ids(None, 2, None), [column(1), column(2)]);
    assert_eq!(ids(Some(column(2)), 2, None), [column(3), other]);
    assert_eq!(ids(Some(column(2)), 9, Some(column(1).volume)), [column(3)]);
    assert_eq!(ids(None, 9, Some(other.volume)), [other]);
}

#[test]
fn the_epoch_of_a_set_never_goes_back() {
    let mut target = Target::small();
    let set = |epoch| ReplicaSet { epoch: SetEpoch(epoch), members: vec![] };
    let id = ReplicaSetId(1);
    assert_eq!(target.store.check_set(id, SetEpoch(1)).unwrap_err(), Error::UnknownSet);
    target.store.configure_sets(&[(id, set(3))]).unwrap();
    target.store.configure_sets(&[(id, set(2))]).unwrap();
    target.kv.cut_power();
    target.restart();
    target.store.check_set(id, SetEpoch(3)).unwrap();
    let stale = Error::StaleSetEpoch { current: SetEpoch(3) };
    assert_eq!(target.store.check_set(id, SetEpoch(2)).unwrap_err(), stale);
    assert_eq!(target.store.check_set(id, SetEpoch(4)).unwrap_err(), Error::UnknownSet);
}

#[test]
fn many_columns_pass_through_small_caches() {
    let options = Options { open_segments_max: 4, columns_max: 64, ..Options::default() };
    let target = Target::new(Options { reserve: Some(0), ..options });
    for round in 0..2 {
        for data in 0..300 {
            target.write(column(data), round * 4096, &[data as u8; 4096]).unwrap();
        }
        assert_eq!(target.store.sync_all().unwrap(), 300);
    }
    for data in 0..300 {
        assert_eq!(target.read(column(data), 0, 8192).unwrap(), [data as u8; 8192]);
    }
}
