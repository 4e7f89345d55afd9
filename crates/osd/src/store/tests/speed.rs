//! What the store takes for common loads: printed, not judged. See `--nocapture`.

use std::time::Instant;

use xtfs_core::checksum::piece_sums;

use super::*;

const TOTAL: u64 = 128 << 20;

fn report(what: &str, bytes: u64, act: impl FnOnce()) {
    let cpu = || {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        clock.tv_sec as f64 + clock.tv_nsec as f64 / 1e9
    };
    let (wall, before) = (Instant::now(), cpu());
    act();
    let gib = bytes as f64 / (1u64 << 30) as f64;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu() - before);
    eprintln!("{what}: {:.2} GiB/s, {:.3} CPU s/GiB", gib / wall, cpu / gib);
}

#[test]
fn the_throughput_is_printed() {
    let dir = std::env::var_os("XTFS_SPEED_DIR");
    let dir = dir.map_or_else(temporary, |dir| TempDir::new_in(dir).unwrap());
    let options = Options { reserve: Some(0), ..Options::default() };
    let store = open(dir.path(), Arc::new(MemKv::default()), &options, "boot 1").unwrap();
    let large = [Bytes::from(super::model::pattern(0, 1 << 20, 9))];
    let sums = piece_sums(0, &large[0]);
    let write_all = |id| {
        for offset in (0..TOTAL).step_by(1 << 20) {
            store.write(id, OPEN, offset, &large, &sums, Timestamp(1)).unwrap();
        }
    };
    report("1 MiB writes", TOTAL, || write_all(column(1)));
    report("sync", TOTAL, || store.sync(&[column(1)]).unwrap());
    report("1 MiB overwrites", TOTAL, || write_all(column(1)));
    report("1 MiB reads", TOTAL, || {
        for offset in (0..TOTAL).step_by(1 << 20) {
            drop(store.read(column(1), OPEN, offset, 1 << 20).unwrap());
        }
    });
    let small = [large[0].slice(..4096)];
    let blocks = TOTAL / 4096;
    let at = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blocks * 4096;
    report("4 KiB random writes", TOTAL / 8, || {
        for n in 0..blocks / 8 {
            store.write(column(1), OPEN, at(n), &small, &sums[..1], Timestamp(1)).unwrap();
        }
    });
    report("4 KiB random reads", TOTAL, || {
        for n in 0..blocks {
            drop(store.read(column(1), OPEN, at(n), 4096).unwrap());
        }
    });
    report("4 KiB new columns", 4096 * 2000, || {
        for n in 0..2000 {
            store.write(column(10 + n), OPEN, 0, &small, &sums[..1], Timestamp(1)).unwrap();
        }
    });
    report("their sync", 4096 * 2000, || assert_eq!(store.sync_all().unwrap(), 2001));
}
