//! Bytes that changed by themselves, and files that went: told for the blocks they hold, never served.

use std::os::unix::fs::FileExt;

use super::*;

/// Three synced blocks in each of two segments.
fn synced() -> (Target, ColumnId) {
    let mut target = Target::small();
    let id = column(1);
    target.write(id, 0, &super::model::pattern(0, 32_768, 3)).unwrap();
    target.store.close().unwrap();
    target.restart();
    (target, id)
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// Only the blocks of `damaged` fail, and say `names`; everything else is right.
#[track_caller]
fn check(target: &Target, id: ColumnId, damaged: std::ops::Range<u64>, names: &str) {
    for offset in (0..32_768).step_by(4096) {
        let read = target.read(id, offset, 4096);
        if damaged.contains(&offset) {
            corrupt(read, names);
        } else {
            assert_eq!(read.unwrap(), super::model::pattern(offset, 4096, 3));
        }
    }
    let found = target.store.verify(id).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].offset, found[0].length), (damaged.start, damaged.end - damaged.start));
}

#[test]
fn a_flipped_byte_is_told_for_its_block_only() {
    let (target, id) = synced();
    flip(&target.file(id, 0, false), 5000);
    check(&target, id, 4096..8192, "block 1 ");
    // A partial overwrite would hide it, a whole one heals it.
    corrupt(target.write(id, 4096, b"part"), "block 1 ");
    target.write(id, 4096, &super::model::pattern(4096, 4096, 3)).unwrap();
    assert_eq!(target.store.verify(id).unwrap(), []);
}

#[test]
fn a_flipped_sum_is_told_for_its_block_only() {
    let (target, id) = synced();
    flip(&target.file(id, 1, true), 4);
    check(&target, id, 20_480..24_576, "block 1 ");
}

#[test]
fn a_truncated_column_file_is_told() {
    let (target, id) = synced();
    let path = target.file(id, 0, false);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(8192).unwrap();
    check(&target, id, 8192..16_384, "truncated");
}

#[test]
fn a_truncated_checksum_file_is_told() {
    let (target, id) = synced();
    let path = target.file(id, 0, true);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(8).unwrap();
    check(&target, id, 8192..16_384, "lacks its sum");
}

#[test]
fn what_both_files_lost_is_no_hole() {
    let (target, id) = synced();
    for (sums, length) in [(true, 8), (false, 8192)] {
        let path = target.file(id, 1, sums);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    }
    target.write(id, 40_000, b"grows").unwrap();
    corrupt(target.read(id, 24_576, 4096), "column 1");
    corrupt(target.read(id, 28_672, 4096), "column 1");
    assert_eq!(target.read(id, 20_480, 4096).unwrap(), super::model::pattern(20_480, 4096, 3));
}

#[test]
fn a_missing_file_is_told_for_its_segment_only() {
    for sums in [false, true] {
        let (target, id) = synced();
        let path = target.file(id, 1, sums);
        std::fs::remove_file(&path).unwrap();
        check(&target, id, 16_384..32_768, path.to_str().unwrap());
        target.store.delete(&[id], Timestamp(0)).unwrap();
    }
}
