//! A client that stops or dies while others rely on its leases: they wait for the end of its session, no longer; and it
//! neither changes nor shows anything old when it goes on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicUsize, Ordering};

use xtfs_testkit::{Cluster, Mount, eventually, fuse_or_skip};

const LEN: usize = 200_000;
/// Writes that are under way when the client stops.
const WRITERS: usize = 8;

fn world() -> Option<(Cluster, Mount, Mount)> {
    fuse_or_skip().then(|| {
        let cluster = Cluster::start(2);
        cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
        let (one, two) = (cluster.mount("v"), cluster.mount("v"));
        fs::create_dir(two.join("d")).unwrap();
        for name in ["written", "read", "d/gone", "d/moved", "kept"] {
            fs::write(two.join(name), vec![1; LEN]).unwrap();
        }
        (cluster, one, two)
    })
}

/// Everything that `mount` shows is kept there afterwards.
fn look(mount: &Mount) {
    for _ in 0..3 {
        assert_eq!(names(mount), ["gone", "moved"]);
        for name in ["written", "read", "d/gone", "d/moved", "kept"] {
            assert!(fs::read(mount.join(name)).unwrap() == vec![1; LEN]);
            assert_eq!(fs::metadata(mount.join(name)).unwrap().mode() & 0o777, 0o644);
        }
        assert!(!mount.join("d/new").exists() && !mount.join("d/there").exists());
    }
}

fn names(mount: &Mount) -> Vec<String> {
    let entries = fs::read_dir(mount.join("d")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// In conflict with leases of the other mount, and with what it writes.
fn change(mount: &Mount) {
    fs::set_permissions(mount.join("read"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(mount.join("d/gone")).unwrap();
    fs::rename(mount.join("d/moved"), mount.join("d/there")).unwrap();
    fs::create_dir(mount.join("d/new")).unwrap();
    fs::write(mount.join("read"), b"changed").unwrap();
    let file = OpenOptions::new().write(true).open(mount.join("written")).unwrap();
    file.write_all_at(&[2; LEN], 0).unwrap();
}

fn assert_changed(mount: &Mount) {
    assert_eq!(names(mount), ["new", "there"]);
    assert_eq!(fs::metadata(mount.join("read")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(mount.join("read")).unwrap().len(), 7);
    assert_eq!(fs::read(mount.join("read")).unwrap(), b"changed");
    assert!(!mount.join("d/gone").exists() && !mount.join("d/moved").exists());
    assert!(fs::metadata(mount.join("d/new")).unwrap().is_dir());
    assert!(fs::read(mount.join("d/there")).unwrap() == vec![1; LEN]);
    assert!(fs::read(mount.join("written")).unwrap() == vec![2; LEN]);
}

/// Writes the range of one writer again and again, until that fails.
fn write_until_it_fails(file: &File, range: usize, done: &AtomicUsize) -> io::Error {
    let piece = LEN / WRITERS;
    loop {
        match file.write_all_at(&vec![1; piece], (range * piece) as u64) {
            Ok(()) => done.fetch_add(1, Ordering::Relaxed),
            Err(err) => return err,
        };
    }
}

#[test]
fn a_client_that_was_stopped_too_long_changes_nothing_and_shows_nothing_old() {
    let Some((cluster, stops, other)) = world() else { return };
    look(&stops);
    let held = File::open(stops.join("read")).unwrap();
    let unharmed = File::open(stops.join("kept")).unwrap();
    let written = OpenOptions::new().write(true).open(stops.join("written")).unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (written, done) = (&written, &done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|range| scope.spawn(move || write_until_it_fails(written, range, done)))
            .collect();
        eventually("they write", || done.load(Ordering::Relaxed) > 5 * WRITERS);
        stops.signal(libc::SIGSTOP);
        change(&other);
        stops.signal(libc::SIGCONT);
        // At once: nobody has told it anything yet.
        assert_changed(&stops);
        assert_changed(&other);
        for writer in writers {
            assert_eq!(writer.join().unwrap().raw_os_error(), Some(libc::EIO));
        }
    });
    assert_changed(&other);
    assert_changed(&stops);
    let mut seen = vec![0; LEN];
    match held.read_at(&mut seen, 0) {
        Ok(len) => assert_eq!(&seen[..len], b"changed"),
        Err(err) => assert_eq!(err.raw_os_error(), Some(libc::EIO)),
    }
    match unharmed.read_exact_at(&mut seen, 0) {
        Ok(()) => assert!(seen == vec![1; LEN]),
        Err(err) => assert_eq!(err.raw_os_error(), Some(libc::EIO)),
    }
    drop((held, unharmed, written));
    // It is a client like any other again.
    fs::write(stops.join("written"), b"anew").unwrap();
    assert_eq!(fs::read(other.join("written")).unwrap(), b"anew");
    stops.unmount();
    other.unmount();
    cluster.assert_clean("v");
}

#[test]
fn a_client_that_died_with_leases_holds_nobody_up_for_ever() {
    let Some((cluster, dies, other)) = world() else { return };
    look(&dies);
    dies.kill9();
    change(&other);
    assert_changed(&other);
    other.unmount();
    cluster.assert_clean("v");
}
