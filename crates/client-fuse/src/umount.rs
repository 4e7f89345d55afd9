//! umount.xtfs: takes a mount away and returns when its process has written everything and is gone.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::failure::{ExitKind, Failure};
use crate::mountpoint;
use crate::mounts::{self, MountEntry};

/// How long the mount's process may take to write what it has.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(120);
/// And how long if it was told to drop it.
const ABORT_TIME_MAX: Duration = Duration::from_secs(10);
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

#[derive(Clone, Debug, PartialEq, Eq)]
struct UmountRequest {
    target: PathBuf,
    lazy: bool,
    force: bool,
}

/// What umount.xtfs does.
pub fn main() -> ExitCode {
    let matches = match cli().try_get_matches_from(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            // Help and version are no error.
            return ExitCode::from(if error.use_stderr() { ExitKind::Usage as u8 } else { 0 });
        }
    };
    match umount(&UmountRequest::from_matches(&matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("umount.xtfs: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The command line, also as umount(8) calls it: `umount.xtfs TARGET [-flnrv] [-N NS] [-t TYPE]`.
pub fn cli() -> Command {
    let flag = |name: &'static str, short| Arg::new(name).short(short).action(ArgAction::SetTrue);
    Command::new("umount.xtfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Unmounts an xtfs volume, and returns when everything written has reached the servers")
        .arg(Arg::new("target").required(true).value_name("MOUNTPOINT").value_parser(clap::value_parser!(OsString)).value_hint(clap::ValueHint::DirPath).help("Where it is mounted"))
        .arg(flag("lazy", 'l').long("lazy").help("Take it out of sight now; it ends when the last file in it is closed"))
        .arg(flag("force", 'f').long("force").help("Abort what waits for servers: such calls fail, and what was not written is lost"))
        .arg(flag("verbose", 'v').help("Ignored, for umount(8)"))
        .arg(flag("nomtab", 'n').help("Ignored, for umount(8)"))
        .arg(flag("readonly", 'r').help("Ignored, for umount(8)"))
        .arg(Arg::new("namespace").short('N').hide(true))
        .arg(Arg::new("type").short('t').hide(true))
        .after_help("Examples:\n  umount.xtfs /mnt/scratch\n  umount.xtfs -f /mnt/scratch     when a server is gone for good\n\nExit codes: 0 unmounted and written, 1 wrong call, 2 unmounted, but its process is not done, 32 still mounted.")
}

impl UmountRequest {
    fn from_matches(matches: &clap::ArgMatches) -> Self {
        UmountRequest {
            target: matches.get_one::<OsString>("target").map(PathBuf::from).unwrap_or_default(),
            lazy: matches.get_flag("lazy"),
            force: matches.get_flag("force"),
        }
    }
}

fn umount(request: &UmountRequest) -> Result<(), Failure> {
    let entry = find(&request.target)?;
    let shown = entry.mountpoint.display();
    let process = process_of(&entry);
    if request.force {
        abort(&entry);
    }
    let mut flags = UnmountFlags::empty();
    if request.lazy || request.force {
        flags |= UnmountFlags::DETACH;
    }
    match mountpoint::unmount(&entry.mountpoint, flags) {
        Ok(()) => {}
        Err(Errno::BUSY) => {
            let cause = format!("{shown} is in use");
            return Err(Failure::mount(cause, format!("see fuser -vm {shown}, or -l")));
        }
        Err(Errno::PERM) => {
            let cause = format!("{shown} was mounted by somebody else");
            return Err(Failure {
                kind: ExitKind::Usage,
                ..Failure::mount(cause, "do it as root")
            });
        }
        Err(errno) => return Err(Failure::mount(format!("{shown}: {errno}"), "try -l")),
    }
    match process {
        // With -l it may live on for as long as somebody has a file open.
        Some(process) if request.force => {
            if !ended(&process, ABORT_TIME_MAX)? {
                // It still asks servers that are away, for calls that nobody waits for.
                let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
            }
            Ok(())
        }
        Some(process) if !request.lazy => wait(&process, FLUSH_TIME_MAX),
        _ => Ok(()),
    }
}

/// The mount at a path, or of a source, without touching the path.
fn find(target: &Path) -> Result<MountEntry, Failure> {
    let mounts = mounts::list().map_err(|error| {
        Failure::system(format!("/proc/self/mountinfo: {error}"), "mount /proc")
    })?;
    let path = mountpoint::resolve(target).or_else(|_| std::path::absolute(target));
    let path = path.unwrap_or_else(|_| target.to_owned());
    let at = mounts.iter().rev().find(|entry| entry.mountpoint == path);
    let of = || mounts.iter().rev().find(|e| e.is_ours() && e.source == target.as_os_str());
    let shown = target.display();
    match at.or_else(of) {
        Some(entry) if entry.is_ours() => Ok(entry.clone()),
        Some(entry) => {
            let cause = format!("{shown} is a mount of {}", entry.file_system);
            Err(Failure::mount(cause, "use umount"))
        }
        None => Err(Failure::mount(format!("{shown} is not mounted"), "see findmnt -t fuse.xtfs")),
    }
}

/// The mount's process, if it still lives: whoever holds the lock of the file it left.
fn process_of(entry: &MountEntry) -> Option<OwnedFd> {
    let path = entry.device.pid_file(entry.user);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
    let alive = || {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    };
    let pid = std::fs::read_to_string(&path).ok()?;
    let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Still locked after it was opened: the number was not given to another process meanwhile.
    alive().then_some(process)
}

fn wait(process: &OwnedFd, limit: Duration) -> Result<(), Failure> {
    if ended(process, limit)? {
        return Ok(());
    }
    let cause = format!("it is unmounted, but its process still writes after {limit:?}");
    Err(Failure::system(cause, "see xtfs status for servers that are away, and the log"))
}

fn ended(process: &OwnedFd, limit: Duration) -> Result<bool, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        // A process's descriptor becomes readable at its end.
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::system(errno.to_string(), "see the log")),
        }
    }
}

/// Ends the connection, so that every call that waits in it fails. Without it the unmount may wait for them.
fn abort(entry: &MountEntry) {
    let path = format!("{CONNECTIONS}/{}/abort", entry.device.minor);
    if !Path::new(&path).exists() {
        let flags = rustix::mount::MountFlags::empty();
        // Without it the detaching alone has to do.
        let _ = rustix::mount::mount("fusectl", CONNECTIONS, "fusectl", flags, None);
    }
    if let Err(error) = std::fs::write(&path, "1") {
        eprintln!("umount.xtfs: cannot abort by {path}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> UmountRequest {
        let words = std::iter::once("umount.xtfs").chain(line.split_whitespace());
        UmountRequest::from_matches(&cli().try_get_matches_from(words).unwrap())
    }

    #[test]
    fn it_is_called_by_people_and_by_umount() {
        cli().debug_assert();
        let plain = UmountRequest { target: "/mnt".into(), lazy: false, force: false };
        assert_eq!(parsed("/mnt"), plain);
        assert_eq!(parsed("/mnt -n -v -r -t fuse.xtfs"), plain);
        assert_eq!(parsed("/mnt -l"), UmountRequest { lazy: true, ..plain.clone() });
        assert_eq!(parsed("-f /mnt"), UmountRequest { force: true, ..plain.clone() });
        assert_eq!(parsed("/mnt -lf"), UmountRequest { force: true, lazy: true, ..plain });
    }

    #[test]
    fn what_is_no_mount_of_ours_is_left_alone() {
        let failure = find(Path::new("/proc")).unwrap_err();
        assert!(failure.to_string().contains("use umount"), "{failure}");
        let dir = tempfile::tempdir().unwrap();
        let failure = find(dir.path()).unwrap_err();
        assert_eq!((failure.exit_code(), failure.to_string().contains("not mounted")), (32, true));
    }
}
