//! Long runs. The tests run short ones of the same code; `cargo xtask campaign` runs them at length.

pub mod counted;
pub mod counters;
pub mod entries;
pub mod kills;
pub mod power_cuts;
pub mod suites;
pub mod workload;
