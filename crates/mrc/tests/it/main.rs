//! An MRC on a real log, over loopback, with a DIR and OSDs that the test controls.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod doubles;
mod files;
mod locks;
mod sessions;
mod volumes;
mod world;
