//! xtfs-osd: keeps the columns of files on its storage targets, checks them and serves them.

pub mod store;
