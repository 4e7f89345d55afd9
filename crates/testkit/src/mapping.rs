//! A file in memory: mmap(2).
#![expect(unsafe_code, reason = "memory that others change is behind no safe interface")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// Bytes of a file from its start, readable and writable. Dropping it unmaps, and writes nothing back.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

/// Who else sees what is stored into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    Shared,
    Private,
}

impl Mapping {
    pub fn new(file: &File, len: usize, sharing: Sharing) -> io::Result<Mapping> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = match sharing {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Private => libc::MAP_PRIVATE,
        };
        // SAFETY: the kernel chooses where, so nothing that is there is replaced; the descriptor is open.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, rights, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Mapping { start, len })
    }

    pub fn load(&self, at: usize, len: usize) -> Vec<u8> {
        self.check(at, len);
        // SAFETY: within the mapping; volatile, as others may store at any time.
        (at..at + len).map(|at| unsafe { self.start.add(at).read_volatile() }).collect()
    }

    pub fn store(&self, at: usize, data: &[u8]) {
        self.check(at, data.len());
        for (at, byte) in (at..).zip(data) {
            // SAFETY: within the mapping; volatile, as others may look at any time.
            unsafe { self.start.add(at).write_volatile(*byte) };
        }
    }

    /// msync(2): what was stored is in the file on return.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: all of the mapping, which is ours.
        let done = unsafe { libc::msync(self.start.as_ptr().cast(), self.len, libc::MS_SYNC) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn check(&self, at: usize, len: usize) {
        assert!(at + len <= self.len, "{len} bytes from {at} of {}", self.len);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: all of the mapping, which nobody uses any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
