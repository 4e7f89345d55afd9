//! One file by several ways at once: read and write, mmap, O_DIRECT; and what is told when its pages cannot be written.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use xtfs_testkit::mapping::{Mapping, Sharing};
use xtfs_testkit::{Cluster, Mount, eventually, fuse_or_skip, tree};

const LEN: usize = 100_000;

fn open(path: &Path, flags: i32) -> File {
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap()
}

fn read(file: &File, at: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    file.read_exact_at(&mut data, at).unwrap();
    data
}

fn world() -> Option<(Cluster, Mount)> {
    fuse_or_skip().then(|| {
        let cluster = Cluster::start(2);
        cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
        let mount = cluster.mount_with("v", &["-o", "timeo=2"]);
        fs::write(mount.join("f"), tree::bytes(LEN, 1)).unwrap();
        (cluster, mount)
    })
}

#[test]
fn a_shared_mapping_is_the_file_and_a_private_one_its_own() {
    let Some((cluster, mount)) = world() else { return };
    let other = cluster.mount("v");
    let (one, two) = (open(&mount.join("f"), 0), open(&mount.join("f"), 0));
    let [shared, same] = [&one, &two].map(|file| Mapping::new(file, LEN, Sharing::Shared).unwrap());
    let private = Mapping::new(&one, LEN, Sharing::Private).unwrap();
    let mut model = tree::bytes(LEN, 1);
    assert!(shared.load(0, LEN) == model && private.load(0, LEN) == model);
    let mut change = |at: usize, data: &[u8]| {
        model[at..at + data.len()].copy_from_slice(data);
        model.clone()
    };
    // Over the border of two pages, and at the end, in a page that the file fills in part.
    for (round, at) in [4_090, 12_345, LEN - 10].into_iter().enumerate() {
        let [stored, written] = [b"stored", b"writes"];
        shared.store(at, stored);
        let expected = change(at, stored);
        assert!(same.load(0, LEN) == expected, "round {round}");
        assert!(read(&two, 0, LEN) == expected, "round {round}");
        two.write_all_at(written, at as u64 + 3).unwrap();
        let expected = change(at + 3, written);
        assert!(shared.load(0, LEN) == expected && same.load(0, LEN) == expected, "round {round}");
    }
    let expected = change(0, b"");
    private.store(50_000, b"mine");
    assert_eq!(private.load(50_000, 4), b"mine");
    assert!(read(&one, 0, LEN) == expected && shared.load(0, LEN) == expected);
    // Beyond the end there are zeros in memory, and nothing in the file.
    shared.sync().unwrap();
    assert!(fs::read(other.join("f")).unwrap() == expected);
    // A file that is cut and grown again shows zeros in the mapping, too.
    one.set_len(5_000).unwrap();
    one.set_len(LEN as u64).unwrap();
    assert_eq!(shared.load(4_990, 20), [&expected[4_990..5_000], &[0; 10]].concat());
    assert!(shared.load(5_000, LEN - 5_000).iter().all(|&byte| byte == 0));
    shared.store(99_000, b"last");
    drop((shared, same, private));
    drop((one, two));
    mount.unmount();
    assert_eq!(read(&File::open(other.join("f")).unwrap(), 99_000, 4), b"last");
}

#[test]
fn direct_access_needs_no_alignment_and_agrees_with_the_cache() {
    let Some((_cluster, mount)) = world() else { return };
    let path = mount.join("f");
    let (direct, cached) = (open(&path, libc::O_DIRECT), open(&path, 0));
    let mapped = Mapping::new(&cached, LEN, Sharing::Shared).unwrap();
    let mut model = tree::bytes(LEN, 1);
    assert!(read(&cached, 0, LEN) == model && mapped.load(0, LEN) == model);
    for (round, (at, len)) in (2..).zip([(1, 3), (4_095, 2), (777, 33_333), (LEN - 7, 7)]) {
        let data = tree::bytes(len, round);
        direct.write_all_at(&data, at as u64).unwrap();
        model[at..at + len].copy_from_slice(&data);
        assert!(read(&cached, 0, LEN) == model, "round {round}");
        assert!(mapped.load(0, LEN) == model, "round {round}");
        let data = tree::bytes(len, round + 100);
        cached.write_all_at(&data, at as u64).unwrap();
        model[at..at + len].copy_from_slice(&data);
        assert!(read(&direct, at as u64, len) == data, "round {round}");
        mapped.store(at, b"m");
        model[at] = b'm';
        assert!(read(&direct, 0, LEN) == model, "round {round}");
        // Into memory that is not aligned either.
        let mut odd = vec![0; len + 1];
        direct.read_exact_at(&mut odd[1..], at as u64).unwrap();
        assert!(odd[1..] == model[at..at + len], "round {round}");
    }
    direct.write_all_at(b"beyond", LEN as u64 + 11).unwrap();
    model.resize(LEN + 11, 0);
    model.extend(b"beyond");
    assert!(fs::read(&path).unwrap() == model);
}

#[test]
fn pages_that_cannot_be_written_are_told_once_to_each_open_file() {
    let Some((mut cluster, mount)) = world() else { return };
    let path = mount.join("f");
    let [mapped, second, third] = [0; 3].map(|flags| open(&path, flags));
    let mapping = Mapping::new(&mapped, LEN, Sharing::Shared).unwrap();
    mapping.store(0, &[7; LEN]);
    cluster.osds.iter_mut().for_each(|osd| osd.kill9());
    let lost = Some(libc::EIO);
    assert_eq!(mapping.sync().unwrap_err().raw_os_error(), lost);
    cluster.osds.iter_mut().for_each(|osd| osd.restart());
    for file in [&second, &third] {
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), lost);
        file.sync_all().unwrap();
    }
    mapped.sync_all().unwrap();
    open(&path, 0).sync_all().unwrap();
    // What is stored from now on is written.
    mapping.store(10, b"again");
    eventually("the OSDs are back", || mapping.sync().is_ok());
    assert_eq!(read(&second, 10, 5), b"again");
}
