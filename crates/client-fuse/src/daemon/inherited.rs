//! Descriptors that the caller left open: a daemon that kept them would keep pipes open and file systems busy.
#![expect(unsafe_code, reason = "rustix has no close_range")]

/// Standard input, output and error stay.
const FIRST: libc::c_uint = 3;

/// Has every descriptor closed when the next program is started.
pub(super) fn close_at_exec() {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: it sets a flag on descriptors and touches no memory; none is closed while its owner lives. A kernel that
    // does not know the call changes nothing.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) };
}
