//! Settings of the MRC.

use std::path::PathBuf;

use xtfs_rpc::{Address, DirAddresses, Failure};

xtfs_rpc::config! {
    /// Settings of `xtfs-mrc`. Options on the command line and XTFS_MRC_… in the environment come first.
    pub struct Config {
        /// Address and port to listen on.
        pub listen: Option<String> = None,
        /// Addresses of the DIR, with commas between them.
        pub dir: Option<DirAddresses> = None,
        /// Data directory.
        pub data: Option<PathBuf> = None,
        /// Addresses that others are told; by default the one that reaches the DIR.
        pub advertise: Vec<Address> = Vec::new(),
        /// Longest time in milliseconds that an answered change is not on disk.
        pub commit_interval_ms: u64 = 1000,
        /// Free bytes on the disk below which only deletions are taken.
        pub min_free_bytes: u64 = 128 << 20,
        /// Requests worked on at once; at the bound clients are told to come again.
        pub requests_in_flight_max: usize = 4096,
        /// Seconds after which a silent client's session ends.
        pub session_expiry_s: u64 = 20,
    }
}

impl Config {
    /// What types cannot say.
    pub fn validate(&self) -> Result<(), Failure> {
        let wrong = |what: &str, next: &str| Err(Failure::new(what, next));
        if self.data.is_none() {
            return wrong("no data directory is given", "give --data DIR");
        }
        if self.dir.is_none() {
            return wrong("no DIR is given", "give --dir ADDR");
        }
        if self.requests_in_flight_max == 0 {
            return wrong("requests_in_flight_max is 0", "set it to 4096");
        }
        if !(2..=3600).contains(&self.session_expiry_s) {
            return wrong("session_expiry_s is not from 2 to 3600", "set it to 20");
        }
        if !(1..=60_000).contains(&self.commit_interval_ms) {
            return wrong("commit_interval_ms is not from 1 to 60000", "set it to 1000");
        }
        Ok(())
    }
}
