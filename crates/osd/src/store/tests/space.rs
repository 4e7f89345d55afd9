//! A full disk (O5), on a small tmpfs where root may mount one.

use std::process::Command;

use super::*;

#[test]
fn a_capped_target_counts_by_itself_and_refuses_before_it_changes() {
    let mut target =
        Target::new(Options { reserve: Some(0), capacity: Some(1 << 20), ..Options::default() });
    let id = column(1);
    target.write(id, 0, &[1; 900 << 10]).unwrap();
    let err = target.write(column(2), 0, &[2; 200 << 10]).unwrap_err();
    assert!(matches!(err, Error::NoSpace(_)), "{err}");
    assert_eq!(target.store.stat(column(2)).unwrap(), None);
    // An overwrite takes no place.
    target.store.sync(&[id]).unwrap();
    target.write(id, 4096, &[3; 400 << 10]).unwrap();
    target.restart();
    let space = target.store.space().unwrap();
    assert!(space.capped && space.total == 1 << 20 && space.used >= 900 << 10, "{space:?}");
    target.store.delete(&[id], Timestamp(0)).unwrap();
    assert_eq!(target.store.space().unwrap().used, 0);
    target.write(column(2), 0, &[2; 200 << 10]).unwrap();
}

#[test]
fn the_reserve_stays_free() {
    let target = Target::new(Options { reserve: Some(u64::MAX / 2), ..Options::default() });
    let err = target.write(column(1), 0, b"x").unwrap_err();
    assert!(matches!(err, Error::NoSpace(_)), "{err}");
    assert!(!target.file(column(1), 0, false).exists());
    assert_eq!(target.store.space().unwrap().free, 0);
}

/// A mounted file system that goes with the test.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(options: &str) -> Option<Mounted> {
        let dir = tempfile::TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: a full disk is tested as root only, mount failed");
        }
        mounted.then_some(Mounted(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Without it the directory could not be removed, which TempDir reports to nobody.
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "umount failed");
    }
}

#[test]
fn the_kernels_enospc_leaves_the_column_as_it_was() {
    // 256 directories and files of pages.
    let Some(disk) = Mounted::tmpfs("size=4m,nr_inodes=2000") else { return };
    let kv: Arc<MemKv> = Arc::default();
    let options = Options { reserve: Some(0), ..Options::default() };
    let store = open(disk.0.path(), kv.clone(), &options, "boot 1").unwrap();
    // The store's own look at the disk would refuse it; a neighbour fills the disk behind that.
    write(&store, column(1), OPEN, 0, &[1; 6000]).unwrap();
    write(&store, column(1), OPEN, 1 << 20, &[2; 4096]).unwrap();
    store.space().unwrap();
    let neighbour = disk.0.path().join("neighbour");
    let mut free = store.space().unwrap().free as usize - (400 << 10);
    free -= free % 4096;
    std::fs::write(&neighbour, vec![0; free]).unwrap();
    let err = write(&store, column(1), OPEN, 5000, &[9; 800 << 10]).unwrap_err();
    assert!(matches!(err, Error::NoSpace(_)), "{err}");
    for _ in 0..2 {
        assert_eq!(store.stat(column(1)).unwrap().unwrap().length, (1 << 20) + 4096);
        // Nothing was acknowledged of it, and nothing is corrupt.
        let out = store.read(column(1), OPEN, 0, 2 << 20).unwrap();
        assert_eq!(filled(&out)[..5000], [1; 5000]);
        assert_eq!(filled(&out)[1 << 20..], [2; 4096]);
        assert_eq!(store.verify(column(1)).unwrap(), []);
    }
    // Overwrites and deletion go on.
    write(&store, column(1), OPEN, 0, &[4; 4096]).unwrap();
    store.delete(&[column(1)], Timestamp(0)).unwrap();
    write(&store, column(2), OPEN, 0, &[5; 300 << 10]).unwrap();
    drop(store);
}
