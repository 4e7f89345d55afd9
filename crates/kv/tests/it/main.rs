//! Both stores under one contract, and what the one on disk does when its files are damaged.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod contract;
mod damage;
