//! Files without a name whose last user has died.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use xtfs_testkit::{Cluster, eventually_within, fuse_or_skip, program, run, tree};

/// More than a session lasts without its client.
const EXPIRED: Duration = Duration::from_secs(120);

fn kib_below(path: &Path) -> u64 {
    let shown = run("du", &["-sk".as_ref(), path.as_os_str()]).ok();
    shown.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn an_open_unlinked_file_of_a_client_that_died_goes_with_its_session() {
    if !fuse_or_skip() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.mkfs("v", &[]);
    let (dies, lives) = (cluster.mount("v"), cluster.mount("v"));
    for name in ["f", "kept"] {
        fs::write(lives.join(name), tree::bytes(8 << 20, 1)).unwrap();
    }
    // By a process of its own: the test must not wait for a mount that is gone.
    let mut holds = Command::new(program("xtfs-locker"));
    let mut holds = holds.arg(dies.join("f")).stdin(Stdio::piped()).spawn().unwrap();
    let columns = cluster.osd_data(0).join("columns");
    let is_open = || fs::read_dir(format!("/proc/{}/fd", holds.id())).unwrap().count() > 3;
    eventually_within(EXPIRED, "the file is open", is_open);
    fs::remove_file(lives.join("f")).unwrap();
    let full = kib_below(&columns);
    assert!(full > 16 << 10, "{full} KiB");
    dies.kill9();
    holds.kill().unwrap();
    holds.wait().unwrap();
    eventually_within(EXPIRED, "its data is gone", || kib_below(&columns) < full - (7 << 10));
    assert!(fs::read(lives.join("kept")).unwrap() == tree::bytes(8 << 20, 1));
    lives.unmount();
    cluster.assert_clean("v");
}
