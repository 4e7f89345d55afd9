//! An OSD over loopback, with a real store in temporary directories.

#![allow(clippy::unwrap_used, reason = "tests")]

mod admission;
mod fixture;
mod generations;
mod io;
mod lifecycle;
mod spans;
