//! Locks over two mounts: fcntl, those of open file descriptions, flock.

use std::fs;
use std::time::{Duration, Instant};

use xtfs_testkit::campaign::counters::{Plan, run};
use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::locker::Locker;
use xtfs_testkit::{Cluster, Mount, eventually, fuse_or_skip};

struct World {
    mounts: [Mount; 2],
    cluster: Cluster,
}

impl World {
    fn new() -> World {
        World::with(&[])
    }

    /// `args` of the first mount.
    fn with(args: &[&str]) -> World {
        let cluster = Cluster::start(1);
        cluster.mkfs("v", &[]);
        let mounts = [cluster.mount_with("v", args), cluster.mount("v")];
        fs::write(mounts[0].join("f"), b"0").unwrap();
        World { mounts, cluster }
    }

    /// One on each mount; they have opened the file.
    fn lockers(&self) -> [Locker; 2] {
        self.mounts.each_ref().map(|mount| {
            let mut locker = Locker::start(&mount.join("f"));
            locker.expect("fcntl try unlock 0 0", "ok");
            locker
        })
    }
}

/// An OSD and the MRC, in the middle of what is going on.
fn kill_services(world: &mut World) {
    for daemon in [&mut world.cluster.osds[0], &mut world.cluster.mrc] {
        daemon.kill9();
        daemon.restart();
    }
}

const LOCKED: &str = "errno 11";

#[test]
fn no_increment_under_a_lock_is_lost() {
    if fuse_or_skip() {
        let disturbance = Disturbance::None;
        run(Plan { increments: 600, processes_per_mount: 2, disturbance, seed: 1 });
    }
}

#[test]
fn no_increment_is_lost_when_services_are_killed() {
    if fuse_or_skip() {
        let disturbance = Disturbance::Once;
        run(Plan { increments: 600, processes_per_mount: 1, disturbance, seed: 2 });
    }
}

#[test]
fn locks_of_one_mount_hold_on_the_other() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    for kind in ["fcntl", "ofd", "flock"] {
        a.expect(&format!("{kind} try shared 0 0"), "ok");
        b.expect(&format!("{kind} try shared 0 0"), "ok");
        b.expect(&format!("{kind} try exclusive 0 0"), LOCKED);
        a.expect(&format!("{kind} try unlock 0 0"), "ok");
        b.expect(&format!("{kind} try exclusive 0 0"), "ok");
        a.order(&format!("{kind} wait exclusive 0 0"));
        a.wait_until_it_waits();
        b.expect(&format!("{kind} try unlock 0 0"), "ok");
        assert_eq!(a.answer(), "ok");
        // fuser hides which kind it is.
        b.expect("flock try exclusive 0 0", LOCKED);
        b.expect("fcntl try exclusive 0 0", LOCKED);
        a.expect(&format!("{kind} try unlock 0 0"), "ok");
    }
    a.expect("fcntl try exclusive 10 5", "ok");
    b.expect("fcntl try exclusive 0 10", "ok");
    b.expect("fcntl try exclusive 15 0", "ok");
    b.expect("fcntl test 12 1", "held 10 5 0");
    let pid = b.pid();
    let mut c = Locker::start(&world.mounts[1].join("f"));
    c.expect("fcntl test 0 1", &format!("held 0 10 {pid}"));
    a.expect("fcntl try unlock 12 1", "ok");
    b.expect("fcntl try exclusive 12 1", "ok");
    b.expect("fcntl test 10 1", "held 10 2 0");
}

#[test]
fn closing_and_dying_give_locks_back_by_their_own_rules() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    // Any close of the file drops what fcntl has locked, and nothing else.
    a.expect("fcntl try exclusive 0 0", "ok");
    a.expect("reopen", "ok");
    b.expect("fcntl try exclusive 0 0", "ok");
    b.expect("fcntl try unlock 0 0", "ok");
    for kind in ["ofd", "flock"] {
        a.expect(&format!("{kind} try exclusive 0 0"), "ok");
        a.expect("reopen", "ok");
        b.expect("fcntl try exclusive 0 0", LOCKED);
        a.expect(&format!("{kind} try unlock 0 0"), "ok");
    }
    for kind in ["fcntl", "ofd", "flock"] {
        let mut holder = Locker::start(&world.mounts[0].join("f"));
        holder.expect(&format!("{kind} try exclusive 0 0"), "ok");
        b.order("fcntl wait exclusive 0 0");
        b.wait_until_it_waits();
        holder.kill9();
        assert_eq!(b.answer(), "ok", "{kind}");
        b.expect("fcntl try unlock 0 0", "ok");
    }
}

#[test]
fn a_deadlock_is_refused() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    a.expect("fcntl try exclusive 0 1", "ok");
    b.expect("fcntl try exclusive 1 1", "ok");
    a.order("fcntl wait exclusive 1 1");
    a.wait_until_it_waits();
    // The other's wait may be on its way still; then it is the one that is refused.
    b.order("fcntl wait exclusive 0 1");
    one_is_refused([&a, &b]);
}

#[test]
fn a_deadlock_is_refused_after_services_were_killed() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::new();
    let [mut a, mut b] = world.lockers();
    a.expect("fcntl try exclusive 0 1", "ok");
    b.expect("fcntl try exclusive 1 1", "ok");
    a.order("fcntl wait exclusive 1 1");
    a.wait_until_it_waits();
    kill_services(&mut world);
    b.order("fcntl wait exclusive 0 1");
    one_is_refused([&a, &b]);
}

/// Of two who wait for each other.
fn one_is_refused(waiting: [&Locker; 2]) {
    let deadlock = format!("errno {}", libc::EDEADLK);
    let mut refused = 0;
    eventually("one is refused", || {
        for it in waiting {
            if let Some(answer) = it.answer_now() {
                assert_eq!(answer, deadlock);
                refused += 1;
            }
        }
        refused > 0
    });
}

#[test]
fn a_deadlock_over_two_files_is_refused() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    fs::write(world.mounts[0].join("g"), b"0").unwrap();
    let other = |mount: usize| format!("use {}", world.mounts[mount].join("g").display());
    a.expect("fcntl try exclusive 0 0", "ok");
    b.expect(&other(1), "ok");
    b.expect("fcntl try exclusive 0 0", "ok");
    a.expect(&other(0), "ok");
    b.expect(&format!("use {}", world.mounts[1].join("f").display()), "ok");
    a.order("fcntl wait exclusive 0 0");
    a.wait_until_it_waits();
    b.order("fcntl wait exclusive 0 0");
    one_is_refused([&a, &b]);
}

#[test]
fn a_signal_ends_the_wait_of_the_thread_that_takes_it_alone() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    b.expect("handle", "ok");
    for kind in ["fcntl", "ofd", "flock"] {
        a.expect("fcntl try exclusive 0 0", "ok");
        b.order(&format!("both {kind} 0 0"));
        b.wait_until_so_many_wait(2);
        b.signal(rustix::process::Signal::USR1);
        assert_eq!(b.answer(), format!("first errno {}", libc::EINTR), "{kind}");
        a.expect("fcntl try unlock 0 0", "ok");
        assert_eq!(b.answer(), "second ok", "{kind}");
        b.expect(&format!("{kind} try unlock 0 0"), "ok");
    }
    a.expect("fcntl try exclusive 0 0", "ok");
    b.order("both fcntl 0 0");
    b.wait_until_so_many_wait(2);
    b.kill9();
    a.expect("fcntl try unlock 0 0", "ok");
    a.expect("fcntl try exclusive 0 0", "ok");
}

/// The killed one's attempt is on its way to an MRC that does not answer; what comes of it is given back.
#[test]
fn a_killed_waiter_goes_while_the_mrc_is_away_and_leaves_nothing() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::new();
    let [mut a, mut b] = world.lockers();
    for it in [&mut a, &mut b] {
        it.expect("fcntl try exclusive 0 0", "ok");
        it.expect("fcntl try unlock 0 0", "ok");
    }
    world.cluster.mrc.kill9();
    b.order("fcntl wait exclusive 0 0");
    b.wait_until_it_waits();
    // It has timeo, 30 seconds, for its attempt.
    let start = Instant::now();
    b.kill9();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    world.cluster.mrc.restart();
    eventually("nothing is left", || a.ask("fcntl try exclusive 0 0") == "ok");
}

#[test]
fn what_could_not_be_given_back_is_given_back_later() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::with(&["-o", "timeo=2"]);
    for kind in ["fcntl", "ofd", "flock"] {
        let [mut a, mut b] = world.lockers();
        a.expect(&format!("{kind} try exclusive 0 0"), "ok");
        world.cluster.mrc.kill9();
        // For fcntl its end waits until giving back is given up.
        a.kill9();
        world.cluster.mrc.restart();
        b.expect("fcntl wait exclusive 0 0", "ok");
    }
}

/// Somebody else may have the lock by then.
#[test]
fn nothing_is_written_under_a_lock_when_the_session_may_have_expired() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::with(&["-o", "timeo=2"]);
    let [mut a, _b] = world.lockers();
    a.expect("fcntl try exclusive 0 0", "ok");
    world.cluster.mrc.kill9();
    a.expect("write 1", "ok");
    let lost = format!("errno {}", libc::EIO);
    eventually("it is not renewed", || a.ask("write 2") == lost);
    for order in ["read", "allocate 0 100", "copy 0 10"] {
        a.expect(order, &lost);
    }
    world.cluster.mrc.restart();
    eventually("it is renewed, as the MRC gives all sessions their time anew", || {
        a.ask("write 3") == "ok"
    });
}

#[test]
fn a_killed_waiter_goes_at_once_and_a_signal_ends_a_wait() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    for kind in ["fcntl", "ofd", "flock"] {
        let [mut a, mut b] = world.lockers();
        a.expect("fcntl try exclusive 0 0", "ok");
        b.order(&format!("{kind} wait exclusive 0 0"));
        b.wait_until_it_waits();
        b.kill9();
        a.expect("fcntl try unlock 0 0", "ok");
        // And it left nothing behind.
        let mut c = Locker::start(&world.mounts[0].join("f"));
        c.expect("fcntl try exclusive 0 0", "ok");
    }
}

#[test]
fn a_killed_mount_gives_its_locks_back_when_its_session_expires() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    a.expect("fcntl try exclusive 0 0", "ok");
    b.order("fcntl wait exclusive 0 0");
    b.wait_until_it_waits();
    kill_mount(&world.mounts[0]);
    assert_eq!(b.answer(), "ok");
    drop(a);
}

#[test]
fn holders_and_waiters_that_die_leave_nothing_after_services_were_killed() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::new();
    for kind in ["fcntl", "ofd", "flock"] {
        let [mut a, mut b] = world.lockers();
        a.expect(&format!("{kind} try exclusive 0 0"), "ok");
        b.order(&format!("{kind} wait exclusive 0 0"));
        b.wait_until_it_waits();
        kill_services(&mut world);
        a.kill9();
        assert_eq!(b.answer(), "ok", "{kind}");
        let mut c = Locker::start(&world.mounts[0].join("f"));
        c.order(&format!("{kind} wait exclusive 0 0"));
        c.wait_until_it_waits();
        kill_services(&mut world);
        c.kill9();
        b.expect(&format!("{kind} try unlock 0 0"), "ok");
        let mut d = Locker::start(&world.mounts[1].join("f"));
        d.expect("fcntl try exclusive 0 0", "ok");
    }
}

#[test]
fn a_killed_mount_gives_its_locks_back_after_services_were_killed() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::new();
    let [mut a, mut b] = world.lockers();
    a.expect("fcntl try exclusive 0 0", "ok");
    b.order("fcntl wait exclusive 0 0");
    b.wait_until_it_waits();
    kill_services(&mut world);
    kill_mount(&world.mounts[0]);
    assert_eq!(b.answer(), "ok");
    drop(a);
}

/// The MRC counts a session's time from its renewals, and so does the client, when it comes to.
#[test]
fn a_mount_that_slept_too_long_has_lost_its_locks_and_goes_on() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    let mut other = Locker::start(&world.mounts[0].join("f"));
    other.expect("write 0", "ok");
    a.expect("fcntl try exclusive 0 0", "ok");
    a.expect("write 1", "ok");
    let serves = mount_process(&world.mounts[0]);
    rustix::process::kill_process(serves, rustix::process::Signal::STOP).unwrap();
    b.expect("fcntl wait exclusive 0 0", "ok");
    b.expect("write 2", "ok");
    rustix::process::kill_process(serves, rustix::process::Signal::CONT).unwrap();
    // Not even once, and not after it has a new session.
    let lost = format!("errno {}", libc::EIO);
    a.expect("write 3", &lost);
    a.expect("read", &lost);
    a.expect("allocate 0 100", &lost);
    b.expect("read", "2");
    // The MRC closed all that the session had open, with locks or without; what is opened now is of the new one.
    other.expect("read", &lost);
    eventually("the mount has a new session", || {
        fs::read_to_string(world.mounts[0].join("f")).is_ok_and(|content| content == "2")
    });
    let mut new = Locker::start(&world.mounts[0].join("f"));
    new.expect("fcntl try exclusive 0 0", LOCKED);
    b.expect("fcntl try unlock 0 0", "ok");
    drop(a);
    new.expect("fcntl wait exclusive 0 0", "ok");
    new.expect("write 4", "ok");
    b.expect("fcntl try exclusive 0 0", LOCKED);
    b.expect("read", "4");
}

/// A close drops what its process has locked, not what another thread of it is about to lock.
#[test]
fn a_close_while_another_thread_asks_for_a_lock_leaves_it_that_lock() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    for mrc_sleeps in [false, true] {
        a.expect("open", "ok");
        if mrc_sleeps {
            // The lock is asked for and not answered when the other descriptor is closed.
            world.cluster.mrc.signal(libc::SIGSTOP);
        } else {
            b.expect("fcntl try exclusive 0 0", "ok");
        }
        a.order("background fcntl 0 0");
        a.wait_until_it_waits();
        a.expect("close", "ok");
        if mrc_sleeps {
            world.cluster.mrc.signal(libc::SIGCONT);
        } else {
            b.expect("fcntl try unlock 0 0", "ok");
        }
        assert_eq!(a.answer(), "background ok");
        b.expect("fcntl try exclusive 0 0", LOCKED);
        // And this close does drop it.
        a.expect("reopen", "ok");
        b.expect("fcntl wait exclusive 0 0", "ok");
        b.expect("fcntl try unlock 0 0", "ok");
    }
}

/// Also if the file was opened without asking anybody.
#[test]
fn a_close_of_a_handle_that_only_reads_drops_the_locks_of_its_process() {
    if !fuse_or_skip() {
        return;
    }
    let world = World::new();
    let [mut a, mut b] = world.lockers();
    // The first one moves the atime.
    for _ in 0..3 {
        a.expect("fcntl try exclusive 0 0", "ok");
        b.expect("fcntl try exclusive 0 0", LOCKED);
        a.expect("glance", "ok");
        b.expect("fcntl try exclusive 0 0", "ok");
        b.expect("fcntl try unlock 0 0", "ok");
    }
}

/// The process that serves a mount, as the kernel kills it for want of memory.
fn kill_mount(mount: &Mount) {
    let serves = mount_process(mount);
    rustix::process::kill_process(serves, rustix::process::Signal::KILL).unwrap();
}

fn mount_process(mount: &Mount) -> rustix::process::Pid {
    let point = mount.path().to_str().unwrap().to_owned();
    let serves = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words[0].ends_with(b"mount.xtfs") && words.contains(&point.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pid = pids.filter_map(|entry| entry.file_name().into_string().ok()).find(|pid| serves(pid));
    rustix::process::Pid::from_raw(pid.unwrap().parse().unwrap()).unwrap()
}

#[test]
fn locks_outlive_a_killed_mrc() {
    if !fuse_or_skip() {
        return;
    }
    let mut world = World::new();
    let [mut a, mut b] = world.lockers();
    a.expect("fcntl try exclusive 0 0", "ok");
    b.order("fcntl wait exclusive 0 0");
    b.wait_until_it_waits();
    world.cluster.mrc.kill9();
    world.cluster.mrc.restart();
    let mut c = Locker::start(&world.mounts[1].join("f"));
    c.expect("flock try exclusive 0 0", LOCKED);
    a.expect("write 7", "ok");
    a.expect("fcntl try unlock 0 0", "ok");
    assert_eq!(b.answer(), "ok");
    assert_eq!(fs::read(world.mounts[1].join("f")).unwrap(), b"7");
}
