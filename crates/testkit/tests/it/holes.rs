//! Holes, room taken ahead, and copies within the mount.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, seek};
use rustix::io::Errno;
use xtfs_testkit::{Cluster, Mount, fuse_or_skip, run, tree};

const K: u64 = 1024;
const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(KEEP);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE;

fn create(path: impl AsRef<Path>) -> File {
    OpenOptions::new().create_new(true).read(true).write(true).open(path).unwrap()
}

fn blocks(file: &File) -> u64 {
    file.metadata().unwrap().blocks() * 512
}

/// Where data is, as lseek(2) tells it.
fn extents(file: &File) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut at = 0;
    loop {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) => {
                at = seek(file, SeekFrom::Hole(data)).unwrap();
                extents.push((data, at));
            }
            Err(err) => {
                assert_eq!(err, Errno::NXIO);
                return extents;
            }
        }
    }
}

fn striped(cluster: &Cluster) -> Mount {
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    cluster.mount("v")
}

#[test]
fn fallocate_takes_room_punches_and_zeroes() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    let mount = striped(&cluster);
    let file = create(mount.join("f"));
    fallocate(&file, KEEP, 0, 100 * K).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert!(blocks(&file) >= 100 * K, "{} bytes", blocks(&file));
    fallocate(&file, FallocateFlags::empty(), 10, 200 * K).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10 + 200 * K);
    assert!(blocks(&file) >= 200 * K, "{} bytes", blocks(&file));
    assert!(fs::read(mount.join("f")).unwrap().iter().all(|&byte| byte == 0));

    let mut model = tree::bytes(300_000, 5);
    file.write_all_at(&model, 0).unwrap();
    let full = blocks(&file);
    fallocate(&file, PUNCH, 5000, 150_000).unwrap();
    model[5000..155_000].fill(0);
    assert!(fs::read(mount.join("f")).unwrap() == model);
    assert!(blocks(&file) + 130_000 < full, "{} of {full} bytes", blocks(&file));
    fallocate(&file, ZERO | KEEP, 290_000, 50_000).unwrap();
    model[290_000..].fill(0);
    assert!(fs::read(mount.join("f")).unwrap() == model);
    fallocate(&file, ZERO, 299_990, 50_000).unwrap();
    model.resize(349_990, 0);
    assert!(fs::read(mount.join("f")).unwrap() == model);
    for refused in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
        assert_eq!(fallocate(&file, refused, 0, 4096), Err(Errno::OPNOTSUPP));
    }
    // What no disk has: refused before anything is changed.
    let huge = fallocate(&file, FallocateFlags::empty(), 0, 1 << 50);
    assert_eq!(huge, Err(Errno::NOSPC));
    assert!(fs::read(mount.join("f")).unwrap() == model);
    drop(file);
    mount.unmount();
    let mount = cluster.mount("v");
    assert!(fs::read(mount.join("f")).unwrap() == model);
    cluster.assert_clean("v");
}

#[test]
fn holes_outlive_the_death_of_osds() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(3);
    let mount = striped(&cluster);
    let file = create(mount.join("f"));
    let mut model = tree::bytes(100_000, 6);
    file.write_all_at(&model, 0).unwrap();
    fallocate(&file, PUNCH, 20_000, 30_000).unwrap();
    model[20_000..50_000].fill(0);
    file.write_all_at(&[9; 100], 30_000).unwrap();
    model[30_000..30_100].fill(9);
    for osd in &mut cluster.osds {
        osd.kill9();
        osd.restart();
    }
    fallocate(&file, ZERO, 90_000, 20_000).unwrap();
    model.resize(110_000, 0);
    model[90_000..].fill(0);
    file.sync_all().unwrap();
    assert!(fs::read(mount.join("f")).unwrap() == model);
}

#[test]
fn data_and_holes_are_where_a_local_file_has_them() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    let mount = striped(&cluster);
    let folder = tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (ours, local) = (create(mount.join("f")), create(folder.path().join("f")));
    let both = [&ours, &local];
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for round in 0..60 {
        let (at, len) = (next(100) * 4 * K, (1 + next(8)) * 4 * K);
        let act = next(5);
        for file in both {
            match act {
                0..=2 => {
                    let data = tree::bytes(usize::try_from(len).unwrap(), round);
                    file.write_all_at(&data, at).unwrap();
                }
                3 => fallocate(file, PUNCH, at, len).unwrap(),
                _ => file.set_len(at + len).unwrap(),
            }
        }
        assert_eq!(extents(&ours), extents(&local), "round {round}");
    }
    // In the middle of data and of a hole, at the end and beyond it.
    let size = ours.metadata().unwrap().len();
    for at in [1, 5000, size / 2 + 77, size - 1, size, size + 1] {
        for from in [SeekFrom::Data(at), SeekFrom::Hole(at)] {
            assert_eq!(seek(&ours, from), seek(&local, from), "{from:?} of {size}");
        }
    }
    let empty = create(mount.join("empty"));
    assert_eq!(seek(&empty, SeekFrom::Data(0)), Err(Errno::NXIO));
    empty.set_len(10).unwrap();
    assert_eq!(seek(&empty, SeekFrom::Hole(3)), Ok(3));
    assert_eq!(seek(&empty, SeekFrom::Data(3)), Err(Errno::NXIO));
}

#[test]
fn a_sparse_copy_is_sparse() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    let mount = striped(&cluster);
    let local = tempfile::tempdir().unwrap();
    let source = create(local.path().join("f"));
    source.set_len(64 << 20).unwrap();
    source.write_all_at(&tree::bytes(100_000, 1), 1 << 20).unwrap();
    source.write_all_at(b"end", (64 << 20) - 3).unwrap();
    let (from, to) = (local.path().join("f"), mount.join("f"));
    run("cp", &["--sparse=always", from.to_str().unwrap(), to.to_str().unwrap()]).ok();
    run("cmp", &[&from, &to]).ok();
    assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    let again = mount.join("again");
    run("cp", &["--sparse=auto", to.to_str().unwrap(), again.to_str().unwrap()]).ok();
    run("cmp", &[&from, &again]).ok();
    assert!(fs::metadata(&again).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_range_is_copied_from_file_to_file() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    let mount = striped(&cluster);
    let (from, to) = (create(mount.join("from")), create(mount.join("to")));
    let data = tree::bytes(1 << 20, 2);
    from.write_all_at(&data, 0).unwrap();
    from.set_len(3 << 20).unwrap();
    to.write_all_at(&[7; 5000], 0).unwrap();
    // More than there is, not aligned to anything.
    let (mut at, mut at_out) = (100, 3000);
    loop {
        let copied = copy_file_range(&from, Some(&mut at), &to, Some(&mut at_out), 8 << 20);
        if copied.unwrap() == 0 {
            break;
        }
    }
    let mut model = vec![7; 3000];
    model.extend(&data[100..]);
    model.resize((3 << 20) - 100 + 3000, 0);
    assert!(fs::read(mount.join("to")).unwrap() == model);
    assert!(blocks(&to) < 2 << 20, "a hole was copied as data");
    // Within one file; what overlaps is refused.
    let (mut at, mut at_out) = (0, 5 << 20);
    let copied = copy_file_range(&to, Some(&mut at), &to, Some(&mut at_out), 10_000).unwrap();
    assert_eq!(copied, 10_000);
    let mut seen = vec![0; 10_000];
    to.read_exact_at(&mut seen, 5 << 20).unwrap();
    assert!(seen == model[..10_000]);
    let (mut at, mut at_out) = (0, 5000);
    let overlap = copy_file_range(&to, Some(&mut at), &to, Some(&mut at_out), 10_000);
    assert_eq!(overlap, Err(Errno::INVAL));
}

#[test]
fn the_last_byte_below_2_63_is_written_and_read() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(4);
    for (volume, width) in [("one", "1"), ("four", "4")] {
        cluster.mkfs(volume, &["-s", "128k", "-w", width]);
        let mount = cluster.mount(volume);
        let file = create(mount.join("f"));
        let end = i64::MAX as u64;
        file.write_all_at(&[5; 5000], end - 5000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), end);
        assert!(blocks(&file) < 1 << 20);
        let mut seen = vec![0; 6000];
        file.read_exact_at(&mut seen, end - 6000).unwrap();
        assert!(seen[..1000].iter().all(|&byte| byte == 0));
        assert!(seen[1000..].iter().all(|&byte| byte == 5));
        assert_eq!(seek(&file, SeekFrom::Hole(end - 4096)), Ok(end));
        let data = seek(&file, SeekFrom::Data(0)).unwrap();
        assert!((end - 5000 - data) < 8192, "{data}");
        file.sync_all().unwrap();
        let beyond = fallocate(&file, FallocateFlags::empty(), end - 10, 20);
        assert_eq!(beyond, Err(Errno::FBIG));
        // The kernel answers by itself where the end of the range is no offset any more.
        let beyond = file.write_at(b"x", end).unwrap_err().raw_os_error();
        assert!(matches!(beyond, Some(libc::EFBIG | libc::EINVAL)), "{beyond:?}");
        drop(file);
        assert_eq!(fs::metadata(mount.join("f")).unwrap().len(), end);
        let file = OpenOptions::new().write(true).open(mount.join("f")).unwrap();
        file.set_len(10).unwrap();
        file.set_len(end).unwrap();
        assert_eq!(fs::metadata(mount.join("f")).unwrap().len(), end);
        drop(file);
        fs::remove_file(mount.join("f")).unwrap();
    }
}
