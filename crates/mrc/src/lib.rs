//! xtfs-mrc: volumes, namespace, layouts, capabilities, replica sets, sessions.

pub mod state;
