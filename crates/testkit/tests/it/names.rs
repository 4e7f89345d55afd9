//! Names and nodes at their bounds: long paths, nameless files, devices, FIFOs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, unlinkat,
};
use rustix::io::Errno;
use xtfs_testkit::{Cluster, Mount, fuse_or_skip, run};

/// PATH_MAX, with the NUL.
const PATH_MAX: usize = 4096;

fn world(args: &[&str]) -> Option<(Cluster, Mount)> {
    fuse_or_skip().then(|| {
        let cluster = Cluster::start(1);
        cluster.mkfs("v", &[]);
        let mount = cluster.mount_with("v", args);
        (cluster, mount)
    })
}

#[test]
fn paths_are_as_long_as_the_kernel_lets_them_be_and_longer() {
    let Some((cluster, mount)) = world(&[]) else { return };
    let mut path = mount.path().to_owned();
    while path.as_os_str().len() + 1 + 200 + 1 + 200 < PATH_MAX {
        path.push("d".repeat(200));
        fs::create_dir(&path).unwrap();
    }
    let name = PATH_MAX - 1 - path.as_os_str().len() - 1;
    // What is left may be more than one name.
    let (folder, name) = if name > 255 { (name / 2, name - name / 2 - 1) } else { (0, name) };
    if folder > 0 {
        path.push("e".repeat(folder));
        fs::create_dir(&path).unwrap();
    }
    let file = path.join("f".repeat(name));
    assert_eq!(file.as_os_str().len(), PATH_MAX - 1);
    fs::write(&file, b"deep").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"deep");
    let longer = path.join("f".repeat(name + 1));
    assert_eq!(fs::write(longer, b"").unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
    // From folder to folder there is no end.
    let folder = OFlags::DIRECTORY | OFlags::PATH;
    let mut at = openat(CWD, &path, folder, Mode::empty()).unwrap();
    for _ in 0..40 {
        mkdirat(&at, "n".repeat(255), Mode::RWXU).unwrap();
        at = openat(&at, "n".repeat(255), folder, Mode::empty()).unwrap();
    }
    let file = openat(&at, "f", OFlags::CREATE | OFlags::RDWR, Mode::RWXU).unwrap();
    File::from(file).write_all(b"deeper").unwrap();
    let symlinks = openat(&at, "f", OFlags::RDONLY, Mode::empty()).unwrap();
    let mut content = String::new();
    File::from(symlinks).read_to_string(&mut content).unwrap();
    assert_eq!(content, "deeper");
    unlinkat(&at, "f", AtFlags::empty()).unwrap();
    drop(at);
    // A symlink's target has the same bound.
    let target = "t".repeat(PATH_MAX - 1);
    std::os::unix::fs::symlink(&target, mount.join("s")).unwrap();
    assert_eq!(fs::read_link(mount.join("s")).unwrap().to_str(), Some(target.as_str()));
    run("rm", &["-rf".as_ref(), mount.join("d".repeat(200)).as_os_str()]).ok();
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 1);
    mount.unmount();
    cluster.assert_clean("v");
}

#[test]
fn a_file_without_a_name_is_refused_so_that_programs_take_one_with_a_name() {
    let Some((_cluster, mount)) = world(&[]) else { return };
    for _ in 0..2 {
        let nameless = openat(CWD, mount.path(), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR);
        assert_eq!(nameless.unwrap_err(), Errno::OPNOTSUPP);
    }
    let mut file = tempfile::tempfile_in(mount.path()).unwrap();
    file.write_all(b"still").unwrap();
    let mut content = [0; 5];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"still");
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

fn device(mount: &Mount, name: &str, minor: u32) -> std::path::PathBuf {
    let path = mount.join(name);
    let device = makedev(1, minor);
    mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device).unwrap();
    path
}

#[test]
fn devices_work_where_the_mount_lets_them() {
    let Some((cluster, mount)) = world(&["-o", "dev"]) else { return };
    let (null, zero) = (device(&mount, "null", 3), device(&mount, "zero", 5));
    fs::write(&null, b"nowhere").unwrap();
    let mut zeros = [1; 100];
    File::open(&zero).unwrap().read_exact(&mut zeros).unwrap();
    assert_eq!(zeros, [0; 100]);
    let data = fs::metadata(&null).unwrap();
    assert!(data.file_type().is_char_device());
    assert_eq!(data.rdev(), makedev(1, 3));
    mknodat(CWD, mount.join("b"), FileType::BlockDevice, Mode::RUSR, makedev(7, 300)).unwrap();
    let closed = cluster.mount_with("v", &["-o", "nodev"]);
    let data = fs::metadata(closed.join("b")).unwrap();
    assert!(data.file_type().is_block_device());
    assert_eq!(data.rdev(), makedev(7, 300));
    let refused = File::open(closed.join("zero")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
}

#[test]
fn a_fifo_joins_the_processes_of_a_mount() {
    let Some((_cluster, mount)) = world(&[]) else { return };
    let path = mount.join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let nobody = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    assert_eq!(nobody.unwrap_err().raw_os_error(), Some(libc::ENXIO));
    let data = vec![7; 300_000];
    let read = std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&path, &data).unwrap());
        fs::read(&path).unwrap()
    });
    assert!(read == data);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}
