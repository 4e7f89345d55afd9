//! Calls of the kernel that rustix has not, or not as programs make them.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

pub(crate) fn truncate(path: &Path, size: u64) -> Result<(), Errno> {
    // rustix has it for open files only.
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    #[expect(unsafe_code, reason = "a call of libc")]
    // SAFETY: the path is a string that ends with NUL and lives until the call returns.
    let done = unsafe { libc::truncate(path.as_ptr(), size.cast_signed()) };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

pub(crate) fn set_mtime(path: &Path, seconds: i64, nanos: u32) -> Result<(), Errno> {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let to = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: omit, last_modification: to };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())
}

pub(crate) fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        // Linux: a directory that another client has moved, and that is first met at its new name under the lock of a
        // rename, cannot be moved in the cache of names there and then. A look at it can.
        Err(Errno::STALE) => {
            for path in [from, to] {
                // Whether it is there says the rename.
                let _ = rustix::fs::lstat(path);
            }
            rustix::fs::renameat_with(CWD, from, CWD, to, flags)
        }
        done => done,
    }
}
