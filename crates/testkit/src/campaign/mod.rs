//! Long runs. The tests run short ones of the same code; `cargo xtask campaign` runs them at length.

pub mod beside_model;
pub mod counted;
pub mod counters;
pub mod disturbance;
pub mod entries;
pub mod kills;
pub mod power_cuts;
pub mod suites;
pub mod workload;
