//! What users see, through real processes and real mounts.

#![allow(clippy::unwrap_used, reason = "tests")]

mod append;
mod applications;
mod bad_input;
mod coherence;
mod corruption;
mod directories;
mod elasticity;
mod files;
mod full_disk;
mod handles;
mod holes;
mod killing;
mod linear;
mod liveness;
mod locks;
mod lost_clients;
mod lost_osd;
mod mappings;
mod names;
mod nfs;
mod orphans;
mod permissions;
mod posix;
mod power_cuts;
mod small_disk;
mod statfs;
mod times;
mod tools;
mod write_behind;
