//! What one mount keeps back of its writes: everybody sees it at once all the same, and what cannot be written is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use xtfs_testkit::{Cluster, Mount, eventually, fuse_or_skip, tree};

const PIECE: usize = 100;
const PIECES: usize = 500;

/// Both mounts have reached all OSDs already, as nothing is kept back before that.
fn world(osds: usize, options: &[&str]) -> Option<(Cluster, Mount, Mount)> {
    fuse_or_skip().then(|| {
        let cluster = Cluster::start(osds);
        cluster.mkfs("v", &["-s", "4k", "-w", &osds.to_string()]);
        let (one, two) = (cluster.mount_with("v", options), cluster.mount_with("v", options));
        for (mount, name) in [(&one, "one"), (&two, "two")] {
            fs::write(mount.join(name), vec![7; 100_000]).unwrap();
            File::open(mount.join(name)).unwrap().sync_all().unwrap();
        }
        (cluster, one, two)
    })
}

fn answered(cluster: &Cluster) -> u64 {
    cluster.osds.iter().map(|osd| osd.answered()).sum()
}

/// A `File` does not say how its close went.
#[expect(unsafe_code, reason = "a call of libc")]
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is ours, and nobody uses it after this.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// In small pieces, the data of `seed`.
fn write_pieces(mut file: &File, seed: u64) -> Vec<u8> {
    let data = tree::bytes(PIECES * PIECE, seed);
    for piece in data.chunks(PIECE) {
        file.write_all(piece).unwrap();
    }
    data
}

#[test]
fn small_writes_become_few_and_others_see_each() {
    let Some((cluster, one, two)) = world(2, &[]) else { return };
    let before = answered(&cluster);
    let file = File::create(one.join("f")).unwrap();
    let mut data = write_pieces(&file, 1);
    let asked = answered(&cluster) - before;
    assert!(asked < PIECES as u64 / 4, "{asked} requests for {PIECES} writes");

    let own = file.metadata().unwrap();
    let seen = fs::metadata(two.join("f")).unwrap();
    assert_eq!(seen.len(), data.len() as u64);
    assert_eq!((own.mtime(), own.mtime_nsec()), (seen.mtime(), seen.mtime_nsec()));
    assert!(fs::read(two.join("f")).unwrap() == data);
    // The other has it open now, and sees what follows.
    let other = File::open(two.join("f")).unwrap();
    for number in 0..20 {
        let piece = [number; PIECE];
        (&file).write_all(&piece).unwrap();
        let mut seen = [0; PIECE];
        other.read_exact_at(&mut seen, data.len() as u64).unwrap();
        assert_eq!(seen, piece, "write {number}");
        data.extend(piece);
        assert_eq!(other.metadata().unwrap().len(), data.len() as u64);
    }
    drop((file, other));
    assert!(fs::read(two.join("f")).unwrap() == data);
    assert!(fs::read(one.join("f")).unwrap() == data);
    cluster.assert_clean("v");
}

#[test]
fn the_mount_itself_sees_what_it_keeps_back() {
    let Some((cluster, one, two)) = world(2, &[]) else { return };
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).open(one.join("f")).unwrap();
    let mut data = write_pieces(&file, 2);
    let metadata = fs::metadata(one.join("f")).unwrap();
    assert_eq!(metadata.len(), data.len() as u64);
    assert!(metadata.blocks() * 512 >= data.len() as u64, "it is no hole: {metadata:?}");
    let listed = fs::read_dir(one.path()).unwrap().map(|entry| entry.unwrap());
    let listed = listed.into_iter().find(|entry| entry.file_name() == "f").unwrap();
    assert_eq!(listed.metadata().unwrap().len(), data.len() as u64);

    file.write_all_at(b"in the middle", 1000).unwrap();
    data[1000..1013].copy_from_slice(b"in the middle");
    fs::copy(one.join("f"), one.join("copy")).unwrap();
    assert!(fs::read(one.join("copy")).unwrap() == data);
    file.set_len(1005).unwrap();
    data.truncate(1005);
    file.write_all_at(b"end", 1010).unwrap();
    data.extend([0; 5]);
    data.extend(b"end");
    fs::rename(one.join("f"), one.join("moved")).unwrap();
    assert!(fs::read(one.join("moved")).unwrap() == data);
    assert!(fs::read(two.join("moved")).unwrap() == data);

    // Emptied by another handle: what was kept back before is gone.
    file.write_all_at(b"kept back", 0).unwrap();
    drop(File::create(one.join("moved")).unwrap());
    assert_eq!(fs::read(one.join("moved")).unwrap(), b"");
    file.write_all_at(&data, 0).unwrap();

    // A name that goes takes nothing of what is open with it.
    file.write_all_at(b"open", 0).unwrap();
    fs::remove_file(one.join("moved")).unwrap();
    data[..4].copy_from_slice(b"open");
    let mut seen = vec![0; data.len()];
    file.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == data);
    drop(file);
    cluster.assert_clean("v");
}

#[test]
fn what_is_kept_back_outlives_the_services() {
    let Some((mut cluster, one, two)) = world(2, &[]) else { return };
    for round in 0..4 {
        let name = format!("f{round}");
        let file = File::create(one.join(&name)).unwrap();
        let data = write_pieces(&file, round);
        let open = (round % 2 == 0).then_some(file);
        cluster.mrc.kill9();
        if open.is_none() {
            cluster.osds[1].kill9();
            cluster.osds[1].restart();
        }
        cluster.mrc.restart();
        // At once: whoever looks waits until the writer is back.
        assert!(fs::read(two.join(&name)).unwrap() == data, "round {round}");
    }
    one.unmount();
    two.unmount();
    cluster.assert_clean("v");
}

#[test]
fn what_a_lost_osd_does_not_take_is_told_once() {
    let Some((mut cluster, one, _two)) = world(1, &["-o", "timeo=2s"]) else { return };
    let synced = File::create(one.join("synced")).unwrap();
    let closed = File::create(one.join("closed")).unwrap();
    let (mut kept, mut dropped) = (&synced, &closed);
    kept.write_all(b"kept").unwrap();
    dropped.write_all(b"dropped").unwrap();
    cluster.osds[0].kill9();
    let told = synced.sync_all().unwrap_err();
    assert_eq!(told.raw_os_error(), Some(libc::EIO), "{told}");
    let closed = close(closed);
    cluster.osds[0].restart();
    eventually("it is told once", || synced.sync_all().is_ok());
    // What fails when nobody is there any more is told to who comes next.
    let reopened = OpenOptions::new().write(true).open(one.join("closed")).unwrap();
    let told = closed.is_err() || reopened.sync_all().is_err();
    assert_eq!(fs::read(one.join("closed")).unwrap().is_empty(), told);
    reopened.sync_all().unwrap();
    drop((synced, reopened));
    one.unmount();
    cluster.assert_clean("v");
}

#[test]
fn a_client_that_slept_too_long_drops_what_it_kept_back() {
    let Some((cluster, stops, other)) = world(2, &[]) else { return };
    let file = File::create(stops.join("f")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(b"late", 0).unwrap();
    stops.signal(libc::SIGSTOP);
    let found = fs::read(other.join("f")).unwrap();
    fs::write(other.join("f"), b"other").unwrap();
    stops.signal(libc::SIGCONT);
    assert_eq!(fs::read(stops.join("f")).unwrap(), b"other");
    assert!(found == b"new" || found == b"late", "{found:?}");
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    drop(file);
    // With that everything that it still has is written.
    stops.unmount();
    assert_eq!(fs::read(other.join("f")).unwrap(), b"other");
    other.unmount();
    cluster.assert_clean("v");
}

#[test]
fn a_client_that_dies_takes_with_it_what_was_not_synced_and_nothing_else() {
    let Some((cluster, dies, other)) = world(2, &[]) else { return };
    let file = File::create(dies.join("f")).unwrap();
    let data = write_pieces(&file, 5);
    file.sync_all().unwrap();
    let _more = write_pieces(&file, 6);
    dies.kill9();
    drop(file);
    let seen = fs::read(other.join("f")).unwrap();
    assert!(seen.len() >= data.len() && seen[..data.len()] == data);
    other.unmount();
    cluster.assert_clean("v");
}
