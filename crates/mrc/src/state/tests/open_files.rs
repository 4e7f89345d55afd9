//! Open files: size, truncation, death of a writer, deletion (R1 to R8).

use super::*;
use xtfs_core::{ColumnIndex, Floor};

fn columns(size: u64, mtime: i64) -> ColumnsState {
    ColumnsState { size, mtime: Some(Timestamp(mtime)), allocated: vec![size, 0] }
}

fn two_sessions() -> (World, SessionId) {
    let mut world = World::new();
    let other = world.open_session(ClientId::generate()).unwrap();
    (world, other)
}

#[test]
fn r1_the_first_open_for_writing_sets_writing_and_the_layout() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    assert_eq!(world.open(file, READ).unwrap().inode.layout, None);
    assert!(!world.inode(file).writing);
    let first = world.open(file, WRITE).unwrap();
    assert!(first.write && first.inode.writing && first.inode.layout.is_some());
    let again = world.open(file, WRITE).unwrap();
    assert_eq!(again.inode.layout, first.inode.layout, "what was offered is not needed");
    assert_eq!(world.vol().opened(world.session, file, true).unwrap().inode, world.inode(file));
    refused(world.vol().opened(SessionId(9), file, false), &Error::Invalid(String::new()));
}

#[test]
fn create_opens_what_is_there_unless_it_is_exclusive() {
    let mut world = World::new();
    let made = world.create(Ino::ROOT, "f", 0o666, WRITE).unwrap();
    assert!(made.created);
    assert_eq!(made.inode.mode, 0o644, "umask");
    let again = world.create(Ino::ROOT, "f", 0o600, READ).unwrap();
    assert!(!again.created && !again.write);
    assert_eq!(again.inode.ino, made.inode.ino);
    let ino = Ino(world.take());
    let create = Create {
        parent: Ino::ROOT,
        name: b"f".to_vec(),
        mode: 0,
        umask: 0,
        exclusive: true,
        open: READ,
        ino,
        layout: None,
        epoch: None,
    };
    refused(world.run(Action::Create(create)), &Error::Exists);
    world.mkdir(Ino::ROOT, "d").unwrap();
    refused(world.create(Ino::ROOT, "d", 0, READ), &Error::IsADirectory);
}

#[test]
fn who_makes_a_file_may_write_it_whatever_its_mode() {
    let mut world = World::new();
    world.as_user(1, 1, |world| {
        let made = world.create(Ino::ROOT, "f", 0o400, WRITE).unwrap();
        assert!(made.write);
        refused(world.open(made.inode.ino, WRITE), &Error::AccessDenied);
        let truncate = OpenMode { truncate: true, ..READ };
        refused(world.open(made.inode.ino, truncate), &Error::AccessDenied);
        let execute = OpenMode { execute: true, ..OpenMode::default() };
        refused(world.open(made.inode.ino, execute), &Error::AccessDenied);
        world.open(made.inode.ino, READ).unwrap();
        let by_handle = SetAttr {
            size: Some(Resize { size: 9, epoch: Some(FileEpoch(world.take())) }),
            by_handle: true,
            ..set_of(made.inode.ino)
        };
        world.set(by_handle).unwrap();
    });
}

#[test]
fn a_program_is_executed_by_x_alone_and_an_open_has_a_purpose() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o711).unwrap();
    world.as_user(1, 1, |world| {
        world.open(file, OpenMode { execute: true, ..READ }).unwrap();
        refused(world.open(file, READ), &Error::AccessDenied);
        let nothing = OpenMode::default();
        let cut = OpenMode { truncate: true, ..nothing };
        for open in [nothing, cut] {
            refused(world.open(file, open), &Error::Invalid(String::new()));
            refused(world.create(Ino::ROOT, "new", 0o666, open), &Error::Invalid(String::new()));
        }
    });
}

#[test]
fn r12_who_writes_a_file_that_gets_set_ids_learns_of_it_by_the_epoch() {
    let mut world = World::new();
    let file = world.writing("f");
    let chmod = |mode| SetAttr { mode: Some(mode), ..set_of(file) };
    world.set(chmod(0o666)).unwrap();
    assert!(!world.vol().must_tell_writers(file, Some(0o666)).unwrap());
    assert!(world.vol().must_tell_writers(file, Some(0o4666)).unwrap());
    refused(world.set(chmod(0o4666)), &Error::Unavailable(String::new()));
    let before = world.inode(file);
    let epoch = FileEpoch(world.take());
    let give = Action::GiveSetIds(GiveSetIds { set: chmod(0o4666), epoch });
    world.run(give.clone()).unwrap();
    let after = world.inode(file);
    assert!(after.mode == 0o4666 && after.file_epoch > before.file_epoch);
    assert_eq!(after.floor, Floor::NONE, "nothing is cut");
    assert!(world.vol().pending(file).unwrap().seal);
    assert!(world.settle(file, true, Some(700)));
    // A report under the new epoch does not say how far was written under the old one.
    let report = world.report(file, 100);
    world.close(file, true, Some(report)).unwrap();
    assert!(world.vol().pending(file).unwrap().settle);
    assert!(world.settle(file, true, Some(700)));
    assert_eq!(world.inode(file).size, 700);
    // Nobody writes it any more.
    world.set(chmod(0o666)).unwrap();
    world.set(chmod(0o6666)).unwrap();
    assert_eq!(world.inode(file).file_epoch, after.file_epoch);
}

#[test]
fn r12_an_epoch_for_set_ids_waits_for_a_cut() {
    let mut world = World::new();
    let file = world.written("f", 700);
    world.open(file, WRITE).unwrap();
    world.truncate(file, 5).unwrap();
    let give = |world: &mut World| {
        let set = SetAttr { mode: Some(0o4666), ..set_of(file) };
        let epoch = FileEpoch(world.take());
        world.run(Action::GiveSetIds(GiveSetIds { set, epoch }))
    };
    refused(give(&mut world), &Error::Unavailable(String::new()));
    assert!(world.settle(file, true, Some(5)));
    give(&mut world).unwrap();
}

#[test]
fn r2_while_somebody_writes_the_columns_are_believed() {
    let mut world = World::new();
    let file = world.writing("f");
    let inode = world.inode(file);
    let seen = inode.with_columns(&columns(700, 9_000));
    assert_eq!((seen.size, seen.mtime, seen.attributes().allocated), (700, Timestamp(9_000), 700));
    assert_eq!(inode.with_columns(&columns(0, 1)).mtime, inode.mtime, "older than our own");
}

#[test]
fn r3_the_report_of_the_only_writer_is_the_truth() {
    let mut world = World::new();
    let file = world.writing("f");
    let mut report = world.report(file, 5000);
    report.allocated = vec![(ColumnIndex(0), 4096), (ColumnIndex(1), 8192), (ColumnIndex(9), 1)];
    world.close(file, true, Some(report)).unwrap();
    let inode = world.inode(file);
    assert_eq!((inode.size, inode.writing, inode.attributes().allocated), (5000, false, 12288));
    assert!(world.vol().pending(file).unwrap().is_empty());
    assert_eq!(world.vol().usage().unwrap().bytes, 5000);
    // A smaller report does not shrink the file.
    world.open(file, WRITE).unwrap();
    let report = world.report(file, 10);
    world.close(file, true, Some(report)).unwrap();
    assert_eq!(world.inode(file).size, 5000);
}

#[test]
fn r3_after_two_writers_the_columns_are_asked() {
    let (mut world, other) = two_sessions();
    let file = world.writing("f");
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    let report = world.report(file, 100);
    world.close(file, true, Some(report)).unwrap();
    assert!(world.vol().pending(file).unwrap().is_empty(), "the other still writes");
    let report = world.report(file, 50);
    world.as_session(other, |world| world.close(file, true, Some(report)).unwrap());
    assert!(world.inode(file).writing && world.vol().pending(file).unwrap().settle);
    assert_eq!(world.vol().all_pending(Ino(0), 9).unwrap().len(), 1);
    assert!(world.settle(file, false, Some(170)));
    let inode = world.inode(file);
    assert_eq!((inode.size, inode.writing, inode.dirty, inode.writer), (170, false, false, None));
}

#[test]
fn r3_a_report_under_an_older_epoch_is_not_believed() {
    let mut world = World::new();
    let file = world.writing("f");
    let old = world.report(file, 9999);
    world.truncate(file, 10).unwrap();
    world.close(file, true, Some(old)).unwrap();
    assert_eq!(world.inode(file).size, 10);
    assert!(world.vol().pending(file).unwrap().settle);
    assert!(world.settle(file, true, Some(30)));
    assert_eq!(world.inode(file).size, 30);
}

#[test]
fn r3_a_settlement_that_was_overtaken_changes_nothing() {
    let (mut world, other) = two_sessions();
    let file = world.writing("f");
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    world.close(file, true, None).unwrap();
    world.as_session(other, |world| world.close(file, true, None).unwrap());
    let late = world.settlement(file, false, Some(777));
    world.open(file, WRITE).unwrap();
    assert!(!world.vol().pending(file).unwrap().settle, "waits for the last close again");
    world.close(file, true, None).unwrap();
    assert!(!world.settle_with(late));
    assert_eq!(world.inode(file).size, 0);
    assert!(world.settle(file, false, Some(888)));
    assert_eq!(world.inode(file).size, 888);
}

#[test]
fn r4_the_death_of_a_writer_fences_the_file_until_all_columns_are_sealed() {
    let (mut world, other) = two_sessions();
    let file = world.written("f", 100);
    let before = world.inode(file);
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    world.end_session(other).unwrap();
    let fenced = world.inode(file);
    assert!(fenced.file_epoch > before.file_epoch && fenced.writing);
    assert_eq!(fenced.floor, before.floor, "the floor stays");
    assert!(!world.vol().is_held(file).unwrap());
    let undecided = Error::Unavailable(String::new());
    refused(world.open(file, WRITE), &undecided);
    refused(world.truncate(file, 1), &undecided);
    world.open(file, READ).unwrap();
    // Asking without sealing is not enough: the dead may still write.
    assert!(!world.settle(file, false, Some(500)));
    assert_eq!(world.inode(file).size, 100);
    assert!(world.settle(file, true, Some(500)));
    assert_eq!((world.inode(file).size, world.inode(file).writing), (500, false));
    world.open(file, WRITE).unwrap();
}

#[test]
fn r4_others_go_on_writing_when_one_dies() {
    let (mut world, other) = two_sessions();
    let file = world.writing("f");
    world.as_session(other, |world| world.open(file, WRITE).unwrap());
    world.end_session(other).unwrap();
    assert!(world.settle(file, true, Some(40)));
    assert!(world.inode(file).writing, "one still writes");
    let report = world.report(file, 60);
    world.close(file, true, Some(report)).unwrap();
    assert!(world.vol().pending(file).unwrap().settle, "several had written");
    assert!(world.settle(file, false, Some(60)));
    assert_eq!(world.inode(file).size, 60);
}

#[test]
fn r5_a_time_that_was_set_shows_until_the_next_write() {
    let mut world = World::new();
    let file = world.writing("f");
    let set = SetAttr { mtime: Some(SetTime::To(Timestamp(5))), ..set_of(file) };
    refused(world.set(set.clone()), &Error::Unavailable(String::new()));
    world.set(SetAttr { columns_mtime: Some(Timestamp(9_000)), ..set }).unwrap();
    let inode = world.inode(file);
    assert_eq!(inode.mtime, Timestamp(5));
    assert_eq!(inode.with_columns(&columns(1, 9_000)).mtime, Timestamp(5), "known when it was set");
    assert_eq!(inode.with_columns(&columns(1, 9_001)).mtime, Timestamp(9_001), "written since");
    let report = WriteReport { mtime: Timestamp(9_000), ..world.report(file, 1) };
    world.close(file, true, Some(report)).unwrap();
    assert_eq!(world.inode(file).mtime, Timestamp(5));
    // Reopened, the columns still tell the old time.
    world.open(file, WRITE).unwrap();
    assert_eq!(world.inode(file).with_columns(&columns(1, 9_000)).mtime, Timestamp(5));
}

#[test]
fn r5_a_time_set_on_a_closed_file_stays_when_it_is_opened_again() {
    let mut world = World::new();
    let file = world.written("f", 10);
    let written = world.inode(file).mtime;
    let set = SetAttr { mtime: Some(SetTime::To(Timestamp(5))), ..set_of(file) };
    world.set(set).unwrap();
    world.open(file, WRITE).unwrap();
    let seen = world.inode(file).with_columns(&columns(10, written.0));
    assert_eq!(seen.mtime, Timestamp(5));
}

#[test]
fn r5_a_write_shows_also_if_a_later_time_was_set() {
    let mut world = World::new();
    let file = world.written("f", 10);
    for time in [1 << 40, 5, 1 << 41] {
        let set = SetAttr { mtime: Some(SetTime::To(Timestamp(time))), ..set_of(file) };
        world.set(set).unwrap();
        assert_eq!(world.inode(file).mtime, Timestamp(time));
    }
    world.open(file, WRITE).unwrap();
    let report = world.report(file, 20);
    let written = report.mtime;
    world.close(file, true, Some(report)).unwrap();
    assert_eq!(world.inode(file).mtime, written);
    let set = SetAttr { mtime: Some(SetTime::To(Timestamp(1 << 40))), ..set_of(file) };
    world.set(set).unwrap();
    let cut = world.truncate(file, 5).unwrap();
    assert_eq!(cut.mtime, cut.ctime);
    assert_eq!(cut.with_columns(&columns(5, written.0)).mtime, cut.mtime, "written before the cut");
}

#[test]
fn a_layout_needs_a_set_for_each_column() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let mut layout = world.layout();
    layout.sets.pop();
    let open = Action::Open(Open { ino: file, open: WRITE, layout: Some(layout), epoch: None });
    refused(world.run(open), &Error::Invalid(String::new()));
}

#[test]
fn r6_a_truncation_raises_the_epoch_and_keeps_the_smallest_size_as_floor() {
    let mut world = World::new();
    let file = world.written("f", 1000);
    let before = world.inode(file);
    world.truncate(file, 300).unwrap();
    let cut = world.inode(file);
    assert!(cut.file_epoch > before.file_epoch);
    assert_eq!((cut.size, cut.floor), (300, Floor(300)));
    let late = world.settlement(file, true, None);
    world.truncate(file, 100).unwrap();
    world.truncate(file, 200).unwrap();
    assert_eq!((world.inode(file).size, world.inode(file).floor), (200, Floor(100)));
    assert!(!world.settle_with(late), "of an older epoch");
    assert!(world.vol().pending(file).unwrap().seal);
    assert!(world.settle(file, true, None));
    assert_eq!((world.inode(file).size, world.inode(file).floor), (200, Floor::NONE));
    assert_eq!(world.vol().usage().unwrap().bytes, 200);
}

#[test]
fn r6_a_truncation_without_data_needs_no_epoch() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    world.truncate(file, 500).unwrap();
    world.truncate(file, 5).unwrap();
    let written = world.written("g", 10);
    let epoch = world.inode(written).file_epoch;
    world.truncate(written, 20).unwrap();
    assert_eq!((world.inode(file).size, world.inode(written).size), (5, 20));
    assert_eq!(world.inode(written).file_epoch, epoch, "nobody writes, it only grows");
    assert!(world.vol().all_pending(Ino(0), 9).unwrap().is_empty());
    // Made as if there were no data, but there is.
    let size = Some(Resize { size: 1, epoch: None });
    let lazy = SetAttr { size, ..set_of(written) };
    refused(world.set(lazy), &Error::Unavailable(String::new()));
}

#[test]
fn r6_an_open_cuts_in_the_same_command() {
    let mut world = World::new();
    let file = world.written("f", 100);
    let cut = OpenMode { truncate: true, ..READ };
    let without_epoch = Open { ino: file, open: cut, layout: None, epoch: None };
    refused(world.run(Action::Open(without_epoch)), &Error::Unavailable(String::new()));
    assert_eq!(world.inode(file).size, 100);
    let before = world.inode(file);
    let opened = world.open(file, cut).unwrap().inode;
    assert_eq!((opened.size, opened.floor, opened.writing), (0, Floor(0), false));
    assert!(opened.file_epoch > before.file_epoch && opened.change > before.change);
    assert_eq!(world.inode(file), opened);
    assert!(world.vol().pending(file).unwrap().seal);
    // Nothing is there to be cut: lazy, and without an epoch.
    let empty = world.create(Ino::ROOT, "g", 0o666, READ).unwrap().inode;
    let opened = world.open(empty.ino, cut).unwrap().inode;
    assert_eq!((opened.floor, opened.file_epoch), (Floor::NONE, empty.file_epoch));
}

#[test]
fn r6_a_truncated_file_can_be_written_at_once() {
    let mut world = World::new();
    let file = world.written("f", 1000);
    world.truncate(file, 0).unwrap();
    let opened = world.open(file, WRITE).unwrap();
    assert_eq!(opened.inode.floor, Floor(0), "whoever comes first cuts");
    let report = world.report(file, 50);
    world.close(file, true, Some(report)).unwrap();
    assert_eq!((world.inode(file).size, world.inode(file).writing), (50, false));
    assert!(world.settle(file, true, None));
}

#[test]
fn r6_a_cut_waits_for_an_earlier_smaller_one() {
    let mut world = World::new();
    let file = world.written("f", 1000);
    world.truncate(file, 0).unwrap();
    world.open(file, WRITE).unwrap();
    let report = world.report(file, 50);
    world.run(Action::Report(Report { ino: file, report })).unwrap();
    // A column that was cut to 0 has 50 bytes by now: it must not be cut to 0 again.
    refused(world.truncate(file, 20), &Error::Unavailable(String::new()));
    refused(world.truncate(file, 90), &Error::Unavailable(String::new()));
    world.truncate(file, 0).unwrap();
    assert!(world.settle(file, true, None));
    world.truncate(file, 20).unwrap();
    assert_eq!(world.inode(file).floor, Floor(20));
}

#[test]
fn r4_a_dead_writer_is_fenced_when_the_cut_before_has_reached_all_columns() {
    let mut world = World::new();
    let file = world.written("f", 1000);
    world.truncate(file, 0).unwrap();
    let cut = world.inode(file);
    world.open(file, WRITE).unwrap();
    world.end_session(world.session).unwrap();
    assert_eq!((world.inode(file).file_epoch, world.inode(file).floor), (cut.file_epoch, Floor(0)));
    let settle = world.settlement(file, true, Some(50));
    let command = world.command(Action::Settle(settle.clone()), None);
    assert_eq!(command.durability(), Durability::Synced);
    let without = Settle { fence: None, ..settle.clone() };
    assert!(!world.settle_with(without));
    assert!(!world.settle_with(settle));
    let fenced = world.inode(file);
    assert!(fenced.file_epoch > cut.file_epoch && fenced.floor == Floor::NONE && fenced.writing);
    assert!(world.settle(file, true, Some(60)));
    assert_eq!(world.inode(file).size, 60);
}

#[test]
fn epochs_only_grow_in_whatever_order_their_numbers_come() {
    let mut world = World::new();
    let file = world.written("f", 1000);
    let early = FileEpoch(world.take());
    world.truncate(file, 500).unwrap();
    let before = world.inode(file).file_epoch;
    assert!(early < before);
    let size = Some(Resize { size: 100, epoch: Some(early) });
    world.set(SetAttr { size, ..set_of(file) }).unwrap();
    assert!(world.inode(file).file_epoch > before);
}

#[test]
fn r8_an_unlinked_file_lives_until_its_last_close() {
    let mut world = World::new();
    let file = world.writing("f");
    world.open(file, READ).unwrap();
    world.unlink(Ino::ROOT, "f").unwrap();
    assert_eq!(world.vol().orphans(Ino(0), 9).unwrap(), [(file, Orphan::Waiting)]);
    assert_eq!(world.begin_delete(file), [], "held");
    let report = world.report(file, 10);
    world.close(file, true, Some(report)).unwrap();
    assert_eq!(world.begin_delete(file), [], "still held");
    assert_eq!(world.inode(file).nlink, 0);
    world.open(file, READ).unwrap();
    world.close(file, false, None).unwrap();
    world.close(file, false, None).unwrap();
    // Somebody looked it up before it went.
    world.open(file, READ).unwrap();
    world.close(file, false, None).unwrap();
    world.now += 5_000_000_000;
    refused(world.open(file, READ), &Error::StaleHandle);
    assert_eq!(world.begin_delete(file), [file]);
    refused(world.open(file, READ), &Error::StaleHandle);
    world.internal(Action::FinishDelete(vec![file])).unwrap();
    refused(world.vol().inode(file), &Error::StaleHandle);
    assert!(world.vol().orphans(Ino(0), 9).unwrap().is_empty());
}

#[test]
fn r8_nothing_is_dropped_before_deletion_has_begun() {
    let mut world = World::new();
    let file = world.written("f", 10);
    world.internal(Action::FinishDelete(vec![file])).unwrap();
    assert_eq!(world.begin_delete(file), [], "it has a name");
    world.unlink(Ino::ROOT, "f").unwrap();
    world.internal(Action::FinishDelete(vec![file])).unwrap();
    assert_eq!(world.inode(file).nlink, 0);
    refused(world.link(file, Ino::ROOT, "g"), &Error::NotFound);
    assert_eq!(world.begin_delete(file), [file]);
    assert_eq!(world.begin_delete(file), [file], "asked again after a restart");
}

#[test]
fn r8_a_file_without_data_needs_no_worker() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let dir = world.mkdir(Ino::ROOT, "d").unwrap();
    for ino in [file, dir] {
        world.open(ino, READ).unwrap();
    }
    world.unlink(Ino::ROOT, "f").unwrap();
    world.rmdir(Ino::ROOT, "d").unwrap();
    assert_eq!(world.inode(dir).nlink, 0);
    refused(world.mknod(dir, "x"), &Error::NotFound);
    let page = world.vol().read_dir(Some(&Identity::ROOT), dir, 0, 9).unwrap();
    assert!(page.entries.is_empty() && page.end);
    for ino in [file, dir] {
        world.close(ino, false, None).unwrap();
        refused(world.vol().inode(ino), &Error::StaleHandle);
    }
    assert!(world.vol().orphans(Ino(0), 9).unwrap().is_empty());
}

#[test]
fn r3_a_file_without_a_name_is_settled_for_those_who_still_read_it() {
    let mut world = World::new();
    let file = world.create(Ino::ROOT, "f", 0o644, WRITE).unwrap().inode.ino;
    world.open(file, READ).unwrap();
    world.unlink(Ino::ROOT, "f").unwrap();
    let doubtful = WriteReport { file_epoch: FileEpoch(0), ..world.report(file, 8192) };
    world.close(file, true, Some(doubtful)).unwrap();
    assert!(world.inode(file).writing, "its columns know the size");
    assert!(world.vol().pending(file).unwrap().settle);
    world.close(file, false, None).unwrap();
    let [left] = world.vol().orphans(Ino(0), 9).unwrap()[..] else { panic!("it is gone") };
    assert_eq!(left, (file, Orphan::Waiting));
}

#[test]
fn r8_a_rename_over_a_file_makes_it_an_orphan() {
    let mut world = World::new();
    let old = world.written("old", 10);
    world.written("new", 20);
    world.mv((Ino::ROOT, "new"), (Ino::ROOT, "old")).unwrap();
    assert_eq!(world.vol().orphans(Ino(0), 9).unwrap(), [(old, Orphan::Waiting)]);
    let usage = world.vol().usage().unwrap();
    assert_eq!((usage.files, usage.bytes), (1, 20));
}

#[test]
fn a_close_without_an_open_is_refused() {
    let mut world = World::new();
    let file = world.written("f", 10);
    let invalid = Error::Invalid(String::new());
    refused(world.close(file, true, None), &invalid);
    world.open(file, READ).unwrap();
    refused(world.close(file, true, None), &invalid);
    let report = world.report(file, 99);
    refused(world.run(Action::Report(Report { ino: file, report })), &invalid);
    assert_eq!(world.inode(file).size, 10);
    refused(
        world.internal(Action::Open(Open { ino: file, open: READ, layout: None, epoch: None })),
        &invalid,
    );
}

#[test]
fn a_report_shows_while_the_file_stays_open() {
    let mut world = World::new();
    let file = world.writing("f");
    let report = world.report(file, 99);
    world.run(Action::Report(Report { ino: file, report })).unwrap();
    assert_eq!((world.inode(file).size, world.inode(file).writing), (99, true));
}

#[test]
fn p4_what_others_may_act_on_is_synced_first() {
    let mut world = World::new();
    let resize = |epoch| {
        Action::SetAttr(SetAttr { size: Some(Resize { size: 0, epoch }), ..set_of(Ino(20)) })
    };
    let end = EndSession { session: SessionId(1), epoch: FileEpoch(2) };
    let unlink = Unlink { parent: Ino::ROOT, name: b"f".to_vec() };
    let cases = [
        (Action::Reserve(Reserve { count: 1, restart: false }), Durability::Synced),
        (Action::EndSession(end), Durability::Synced),
        (Action::CreateSets(vec![]), Durability::Synced),
        (Action::BeginDelete(vec![]), Durability::Synced),
        (resize(Some(FileEpoch(9))), Durability::Synced),
        (resize(None), Durability::Process),
        (Action::Unlink(unlink), Durability::Process),
        (Action::FinishDelete(vec![]), Durability::Process),
    ];
    for (action, durability) in cases {
        let command = world.command(action, None);
        assert_eq!(command.durability(), durability, "{command:?}");
    }
}
