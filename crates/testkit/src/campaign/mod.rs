//! Long runs. The tests run short ones of the same code; `cargo xtask campaign` runs them at length.

pub mod beside_model;
pub mod coherence;
pub mod counted;
pub mod counters;
pub mod dbench;
pub mod disturbance;
mod disturbed;
pub mod entries;
pub mod kills;
pub mod linear;
mod local;
pub mod power_cuts;
pub mod stress;
pub mod suites;
pub mod workload;
