//! Locks as programs take them: fcntl, those of open file descriptions, flock.
#![expect(unsafe_code, reason = "fcntl(2) with ranges and sigaction(2) have no safe wrappers")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fcntl,
    Ofd,
    /// Always of the whole file.
    Flock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Shared,
    Exclusive,
    Unlock,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Fcntl, Kind::Ofd, Kind::Flock];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Fcntl => "fcntl",
            Kind::Ofd => "ofd",
            Kind::Flock => "flock",
        }
    }

    /// Takes a range, or gives it back; `len` zero is to the end of all files.
    pub fn set(
        self,
        file: &File,
        take: Take,
        (start, len): (i64, i64),
        wait: bool,
    ) -> io::Result<()> {
        let command = match (self, wait) {
            (Kind::Fcntl, false) => libc::F_SETLK,
            (Kind::Fcntl, true) => libc::F_SETLKW,
            (Kind::Ofd, false) => libc::F_OFD_SETLK,
            (Kind::Ofd, true) => libc::F_OFD_SETLKW,
            (Kind::Flock, wait) => return flock(file, take, wait),
        };
        fcntl(file, command, &mut range(take, start, len))
    }

    /// What is in the way of an exclusive lock, and whose it is.
    pub fn test(
        self,
        file: &File,
        (start, len): (i64, i64),
    ) -> io::Result<Option<(i64, i64, i32)>> {
        let command = if self == Kind::Ofd { libc::F_OFD_GETLK } else { libc::F_GETLK };
        let mut lock = range(Take::Exclusive, start, len);
        fcntl(file, command, &mut lock)?;
        let held = i32::from(lock.l_type) != libc::F_UNLCK;
        Ok(held.then_some((lock.l_start, lock.l_len, lock.l_pid)))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("{name} is no kind of lock"))
    }
}

fn range(take: Take, start: i64, len: i64) -> libc::flock {
    let kind = match take {
        Take::Shared => libc::F_RDLCK,
        Take::Exclusive => libc::F_WRLCK,
        Take::Unlock => libc::F_UNLCK,
    };
    let kind = i16::try_from(kind).expect("a small number");
    let whence = i16::try_from(libc::SEEK_SET).expect("a small number");
    libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: len, l_pid: 0 }
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open and the commands take a pointer to this struct, which lives over the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flock(file: &File, take: Take, wait: bool) -> io::Result<()> {
    let operation = match take {
        Take::Shared => libc::LOCK_SH,
        Take::Exclusive => libc::LOCK_EX,
        Take::Unlock => libc::LOCK_UN,
    };
    let operation = if wait { operation } else { operation | libc::LOCK_NB };
    // SAFETY: the descriptor is open; there is no memory in it.
    let done = unsafe { libc::flock(file.as_raw_fd(), operation) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The signal is taken, and does nothing but end a call that waits: it is not restarted.
pub fn handle(signal: i32) -> io::Result<()> {
    extern "C" fn nothing(_signal: i32) {}
    let handler: extern "C" fn(i32) = nothing;
    // SAFETY: all zeros are no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the action lives over the call, and its handler does nothing at all.
    let done = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
