//! `O_APPEND` over mounts: every record is there once and whole.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use xtfs_testkit::{Cluster, fuse_or_skip, run};

/// Records of one writer.
const RECORDS: usize = 120;

/// A line that names its writer and its number, of an odd length of its own.
fn record(writer: usize, number: usize) -> String {
    let fill = "x".repeat((writer * 7919 + number * 104_729) % 9001);
    format!("{writer} {number} {fill}\n")
}

fn append(path: &Path, writer: usize) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    for number in 0..RECORDS {
        // One write(2): what it returns is all of it.
        let record = record(writer, number);
        assert_eq!(file.write(record.as_bytes()).unwrap(), record.len());
    }
}

fn check(text: &str, writers: usize) {
    let mut next: HashMap<usize, usize> = HashMap::new();
    for line in text.split_inclusive('\n') {
        let mut words = line.split(' ');
        let writer: usize = words.next().unwrap().parse().expect("a torn record");
        let number: usize = words.next().unwrap().parse().expect("a torn record");
        assert_eq!(line, record(writer, number), "a torn record");
        let expected = next.entry(writer).or_default();
        assert_eq!(number, *expected, "of writer {writer}");
        *expected += 1;
    }
    assert_eq!(next.len(), writers);
    assert!(next.values().all(|&count| count == RECORDS), "{next:?}");
}

fn append_at_once(paths: &[PathBuf], meanwhile: impl FnOnce()) {
    std::thread::scope(|scope| {
        let writers: Vec<_> = paths
            .iter()
            .enumerate()
            .map(|(writer, path)| scope.spawn(move || append(path, writer)))
            .collect();
        meanwhile();
        for writer in writers {
            writer.join().unwrap();
        }
    });
    check(&fs::read_to_string(&paths[0]).unwrap(), paths.len());
}

#[test]
fn two_mounts_append_to_one_file() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    fs::write(one.join("log"), "").unwrap();
    let paths: Vec<_> =
        [&one, &two, &one, &two, &one, &two].map(|mount| mount.join("log")).into_iter().collect();
    append_at_once(&paths, || {});
    drop(two);
    drop(one);
    cluster.assert_clean("v");
}

#[test]
fn appends_go_on_through_a_kill_of_the_mrc() {
    if !fuse_or_skip() {
        return;
    }
    let mut cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let log = one.join("log");
    fs::write(&log, "").unwrap();
    let paths = [one.join("log"), two.join("log"), two.join("log"), one.join("log")];
    append_at_once(&paths, || {
        for part in [1, 2] {
            xtfs_testkit::eventually("records come", || {
                let lines = fs::read_to_string(&log).unwrap_or_default().lines().count();
                lines >= part * RECORDS
            });
            cluster.mrc.kill9();
            cluster.mrc.restart();
        }
    });
}

#[test]
fn shells_append_with_redirections() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(2);
    cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let script = |mount: &Path, name: &str| {
        let log = mount.join("log");
        format!("for n in $(seq 50); do echo {name} $n >> {}; done", log.display())
    };
    std::thread::scope(|scope| {
        for (mount, name) in [(&one, "a"), (&two, "b")] {
            let script = script(mount.path(), name);
            scope.spawn(move || run("sh", &["-c", &script]).ok());
        }
    });
    let text = fs::read_to_string(one.join("log")).unwrap();
    let lines: std::collections::HashSet<_> = text.lines().collect();
    assert_eq!((text.lines().count(), lines.len()), (100, 100), "{text}");
}

#[test]
fn the_turn_of_a_client_that_dies_passes_on() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(3);
    cluster.mkfs("v", &["-s", "4k", "-w", "3"]);
    let (one, two) = (cluster.mount("v"), cluster.mount("v"));
    let (log, same) = (one.join("log"), two.join("log"));
    let script = "while :; do echo record || exit 1; done >> $0";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(&log).stderr(Stdio::null());
    let mut appending = command.spawn().unwrap();
    xtfs_testkit::eventually("records come", || {
        fs::metadata(&same).is_ok_and(|meta| meta.len() > 4_096)
    });
    one.kill9();
    assert!(!appending.wait().unwrap().success());
    // Waits until the session has expired and its last record is settled.
    let mut file = OpenOptions::new().append(true).open(&same).unwrap();
    file.write_all(b"record\n").unwrap();
    let text = fs::read_to_string(&same).unwrap();
    assert!(text.len() > 4_096 && text.split_inclusive('\n').all(|line| line == "record\n"));
    drop(file);
    two.unmount();
    cluster.assert_clean("v");
}
