//! Times: all that a file can have, and when reading moves one.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use xtfs_testkit::{Cluster, Mount, fuse_or_skip, run};

type Time = (i64, i64);

fn set(path: &Path, atime: Time, mtime: Time) {
    let [last_access, last_modification] =
        [atime, mtime].map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn times(path: &Path) -> [Time; 2] {
    let data = fs::symlink_metadata(path).unwrap();
    [(data.atime(), data.atime_nsec()), (data.mtime(), data.mtime_nsec())]
}

/// 64 bits of nanoseconds: these are the first and the last.
const FIRST: Time = (-9_223_372_037, 145_224_192);
const LAST: Time = (9_223_372_036, 854_775_807);

#[test]
fn times_are_nanoseconds_from_1677_to_2262() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let (mount, other) = (cluster.mount("v"), cluster.mount("v"));
    let exact = [
        (0, 0),
        (0, 1),
        (-1, 0),
        (-1, 999_999_999),
        (-2, 800_000_000),
        (-2_208_988_800, 123_456_789),
        (1 << 31, 1),
        // After 2106.
        (1 << 32, 999_999_999),
        (7_258_118_400, 5),
        FIRST,
        LAST,
    ];
    for (number, time) in exact.into_iter().enumerate() {
        let name = format!("f{number}");
        fs::write(mount.join(&name), b"").unwrap();
        let other_time = exact[(number + 1) % exact.len()];
        set(&mount.join(&name), time, other_time);
        assert_eq!(times(&mount.join(&name)), [time, other_time]);
        assert_eq!(times(&other.join(&name)), [time, other_time]);
    }
    for (time, nearest) in [((-(1 << 40), 5), FIRST), ((1 << 40, 5), LAST)] {
        set(&mount.join("f0"), time, time);
        assert_eq!(times(&mount.join("f0")), [nearest; 2]);
    }
    mount.unmount();
    let mount = cluster.mount("v");
    assert_eq!(times(&mount.join("f4"))[0], (-2, 800_000_000));
}

const DAY: i64 = 24 * 60 * 60;

fn read(path: &Path) -> Time {
    File::open(path).unwrap().read_to_end(&mut Vec::new()).unwrap();
    times(path)[0]
}

/// A volume with this policy, or with none given, and a file on it.
fn volume(cluster: &Cluster, atime: Option<&str>) -> Mount {
    let name = atime.unwrap_or("default");
    let policy = atime.map(|atime| format!("atime={atime}"));
    let args: Vec<_> = policy.iter().flat_map(|policy| ["-o", policy]).collect();
    cluster.mkfs(name, &args);
    let mount = cluster.mount(name);
    fs::write(mount.join("f"), b"content").unwrap();
    mount
}

#[test]
fn reading_moves_the_atime_as_the_volume_wants() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    for atime in [None, Some("relatime")] {
        let mount = volume(&cluster, atime);
        let path = mount.join("f");
        let now = times(&path)[1].0;
        // Not younger than the mtime: it moves once.
        set(&path, (now - 100, 0), (now - 50, 0));
        let first = read(&path);
        assert!(first.0 >= now, "{first:?}");
        assert_eq!(read(&path), first);
        // A change makes it move again.
        fs::write(&path, b"other").unwrap();
        let second = read(&path);
        assert!(second > first, "{second:?} {first:?}");
        // Neither before nor beside: the time is the MRC's, and one of two days ago is too old.
        set(&path, (now - 2 * DAY, 0), (now - 3 * DAY, 0));
        assert!(read(&path).0 >= now);
        // A directory is read by listing it.
        fs::create_dir(mount.join("d")).unwrap();
        set(&mount.join("d"), (5, 0), (6, 0));
        assert_eq!(fs::read_dir(mount.join("d")).unwrap().count(), 0);
        assert!(times(&mount.join("d"))[0].0 >= now);
    }
    let mount = volume(&cluster, Some("noatime"));
    set(&mount.join("f"), (5, 0), (6, 0));
    assert_eq!(read(&mount.join("f")), (5, 0));

    let mount = volume(&cluster, Some("strictatime"));
    let (first, second) = (read(&mount.join("f")), read(&mount.join("f")));
    assert!(second > first, "{second:?} {first:?}");
    // A policy can be changed at any time.
    cluster.xtfs(&["volume", "set", "strictatime", "atime=noatime"]).ok();
    assert_eq!(read(&mount.join("f")), second);
    // What a file says of itself is kept by copies.
    run("cp", &["-p".as_ref(), mount.join("f").as_os_str(), mount.join("g").as_os_str()]).ok();
    assert_eq!(times(&mount.join("g")), times(&mount.join("f")));
}
