//! Settings of the DIR.

use std::time::Duration;

use xtfs_rpc::{Address, AddressError, DIR_PORT, Failure, Listen};

xtfs_rpc::config! {
    /// Settings of `xtfs-dir`. Options on the command line and XTFS_DIR_… in the environment win.
    pub struct Config {
        /// Address and port to listen on. Default: port 32600 on every address of the host.
        pub listen: Option<String> = None,
        /// Data directory.
        pub data: Option<std::path::PathBuf> = None,
        /// Addresses that others reach this DIR at, with commas between them. Default: the address
        /// that each of them has reached it at.
        pub advertise: Option<String> = None,
        /// Milliseconds between the heartbeats of a service, 100 to 60000. It counts as gone after
        /// three of them.
        pub heartbeat_ms: u32 = 2000,
        /// Hours after which a new key signs capabilities, at least 1.
        pub key_hours: u32 = 24,
    }
}

impl Config {
    /// What types cannot say.
    pub fn validate(&self) -> Result<(), Failure> {
        if !(100..=60_000).contains(&self.heartbeat_ms) {
            return Err(Failure::new(
                format!("heartbeat_ms is {}", self.heartbeat_ms),
                "choose 100 to 60000",
            ));
        }
        if self.key_hours == 0 {
            return Err(Failure::new("key_hours is 0", "choose at least 1"));
        }
        self.listen()?;
        self.advertise()?;
        Ok(())
    }

    pub fn listen(&self) -> Result<Listen, Failure> {
        match &self.listen {
            None => Ok(Listen::ANY),
            Some(text) => text.parse().map_err(|err| refused("listen", &err)),
        }
    }

    pub(crate) fn advertise(&self) -> Result<Vec<Address>, Failure> {
        match &self.advertise {
            None => Ok(Vec::new()),
            Some(text) => {
                Address::parse_list(text, DIR_PORT).map_err(|err| refused("advertise", &err))
            }
        }
    }

    pub(crate) fn silence_max(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.into()) * 3
    }

    pub(crate) fn key_age_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.key_hours) * 3600)
    }
}

fn refused(option: &str, err: &AddressError) -> Failure {
    Failure::new(format!("--{option}: {err}"), "")
}
