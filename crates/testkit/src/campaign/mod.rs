//! Long runs. The tests run short ones of the same code; `cargo xtask campaign` runs them at length.

pub mod counted;
pub mod counters;
pub mod dbench;
mod disturbed;
pub mod kills;
mod local;
pub mod power_cuts;
pub mod stress;
pub mod suites;
pub mod workload;
