//! A DIR over loopback.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod cluster;
mod port;
mod registration;
