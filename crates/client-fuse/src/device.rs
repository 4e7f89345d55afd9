//! Getting a FUSE device mounted: mount(2) for root, fusermount3 for everyone else.
//!
//! By ourselves and not through fuser, because on its way out fuser unmounts whatever is at the path by then.

use std::ffi::CString;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use crate::adapter::Judge;
use crate::failure::Failure;
use crate::mount_option::MountOptions;

/// Largest read that the kernel sends; as much as a write.
pub(crate) const REQUEST_MAX: u32 = 1 << 20;

/// Mounts at `path` and returns the device on which the kernel asks.
pub(crate) fn mount(
    source: &str,
    path: &Path,
    options: &MountOptions,
    judge: Judge,
) -> Result<OwnedFd, Failure> {
    if !rustix::process::geteuid().is_root() {
        return mount_by_fusermount(source, path, options, judge);
    }
    match mount_directly(source, path, options, judge) {
        // Root of a container without CAP_SYS_ADMIN.
        Err(Errno::PERM) => mount_by_fusermount(source, path, options, judge),
        Ok(device) => Ok(device),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            Err(Failure::system("this kernel has no FUSE (/dev/fuse)", "modprobe fuse"))
        }
        Err(errno) => {
            let cause = format!("mount of {source} on {}: {errno}", path.display());
            Err(Failure::mount(cause, "dmesg may say more"))
        }
    }
}

fn mount_directly(
    source: &str,
    path: &Path,
    options: &MountOptions,
    judge: Judge,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let mut data = format!(
        "fd={},rootmode=40000,user_id={uid},group_id={gid},{}",
        device.as_raw_fd(),
        for_the_kernel(options, judge)
    );
    // A kernel without SELinux knows no labels and would refuse the mount.
    if Path::new("/sys/fs/selinux").exists() {
        options.security.iter().for_each(|label| data.extend([",", label]));
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, path, "fuse", options.flags, data.as_c_str())?;
    Ok(device)
}

/// What every mount has, and whom it serves.
fn for_the_kernel(options: &MountOptions, judge: Judge) -> String {
    let kernel = if judge == Judge::Both { "default_permissions," } else { "" };
    let others = if options.allow_other { ",allow_other" } else { "" };
    format!("subtype=xtfs,{kernel}max_read={REQUEST_MAX}{others}")
}

fn mount_by_fusermount(
    source: &str,
    path: &Path,
    options: &MountOptions,
    judge: Judge,
) -> Result<OwnedFd, Failure> {
    let broken = |errno: Errno| Failure::system(format!("fusermount3: {errno}"), "try again");
    let stream = SocketType::STREAM;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, stream, SocketFlags::empty(), None)
            .map_err(broken)?;
    rustix::io::fcntl_setfd(&ours, FdFlags::CLOEXEC).map_err(broken)?;
    let mut command = Command::new("fusermount3");
    command.arg("-o").arg(for_fusermount(source, options, judge)).arg("--").arg(path);
    command.env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let cause = format!("fusermount3: {error}");
        Failure::system(cause, "install the package fuse3, or mount as root")
    })?;
    drop(theirs);
    let device = receive(ours.as_fd());
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // Its words are only a help.
        let _ = stderr.read_to_string(&mut said);
    }
    let _ = child.wait();
    device.ok_or_else(|| {
        let said = said.trim().trim_start_matches("fusermount3: ").replace('\n', ", ");
        let hint = match said.contains("allow_other") {
            true => "set user_allow_other in /etc/fuse.conf, or leave allow_other out",
            false => "mount over a directory of your own, or as root",
        };
        Failure::mount(format!("fusermount3 did not mount {source}: {said}"), hint)
    })
}

fn for_fusermount(source: &str, options: &MountOptions, judge: Judge) -> String {
    // fusermount3 takes a comma for the end of the option unless it is escaped.
    let source = source.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!("fsname={source},{}", for_the_kernel(options, judge));
    for (flag, name) in [
        (MountFlags::RDONLY, "ro"),
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
        (MountFlags::NOATIME, "noatime"),
    ] {
        if options.flags.contains(flag) {
            list.extend([",", name]);
        }
    }
    list
}

/// The device that fusermount3 opened for us. `None`: it closed its end, because it did not mount.
fn receive(socket: impl AsFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(&socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    if received.bytes == 0 {
        return None;
    }
    let mut messages = control.drain();
    messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut devices) => devices.next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_source_reaches_fusermount_escaped() {
        let mut options = MountOptions::default();
        options.apply_list("ro,nodev,allow_other", false).unwrap();
        assert_eq!(
            for_fusermount("a,b/v", &options, Judge::Both),
            "fsname=a\\,b/v,subtype=xtfs,default_permissions,max_read=1048576,allow_other,ro,nodev"
        );
    }
}
