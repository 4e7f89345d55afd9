//! File handles as NFS servers keep them: name_to_handle_at(2) and open_by_handle_at(2).
#![expect(unsafe_code, reason = "rustix has no wrappers of the two")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As many bytes as the kernel ever makes one of (MAX_HANDLE_SZ).
const BYTES_MAX: usize = 128;

/// What a file system calls one of its files, by whatever name it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Handle {
    len: u32,
    kind: i32,
    bytes: [u8; BYTES_MAX],
}

impl Handle {
    pub fn of(path: &Path) -> io::Result<Handle> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut handle = Handle { len: 128, kind: 0, bytes: [0; BYTES_MAX] };
        let mut mount = 0;
        // SAFETY: the path ends with a NUL; the struct begins as the kernel's does, has room for the `len` bytes that it
        // announces, and lives over the call.
        let done = unsafe {
            let into = std::ptr::from_mut(&mut handle).cast::<libc::file_handle>();
            libc::name_to_handle_at(libc::AT_FDCWD, path.as_ptr(), into, &raw mut mount, 0)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(handle) }
    }

    /// Opens it on the file system that `mount` is a file of.
    pub fn open(&self, mount: &File, flags: i32) -> io::Result<File> {
        let mut handle = *self;
        // SAFETY: the descriptor is open, and the kernel reads `len` bytes of a struct that has room for them.
        let opened = unsafe {
            let from = std::ptr::from_mut(&mut handle).cast::<libc::file_handle>();
            libc::open_by_handle_at(mount.as_raw_fd(), from, flags | libc::O_CLOEXEC)
        };
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was opened just now, and nobody else has it.
        Ok(unsafe { File::from_raw_fd(opened) })
    }
}
