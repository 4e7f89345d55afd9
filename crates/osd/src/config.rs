//! Settings of `xtfs-osd`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use xtfs_core::units::Bytes;
use xtfs_rpc::{Address, DirAddresses, Failure, OSD_PORT_FIRST};

xtfs_rpc::config! {
    /// Settings of xtfs-osd. Options of the command line and XTFS_OSD_* in the environment come first.
    pub struct Config {
        /// Addresses of the DIR, with commas between them: "meta1" or "meta1:32600,meta2".
        pub dir: Option<DirAddresses> = None,
        /// Data directories; each is a storage target of its own, best one for each disk.
        pub data: Vec<PathBuf> = Vec::new(),
        /// HOST:PORT to listen on. Without it: every address, first free port from 32602.
        pub listen: Option<String> = None,
        /// Addresses that others are told, with commas between them. Without: the one that reaches the DIR.
        pub advertise: Option<String> = None,
        /// Most that a target may hold, as "20GiB"; holds for each data directory. Without it: its disk.
        pub capacity: Option<Bytes> = None,
        /// Space on each disk that is left free. Without it: 1 % but at least 1 GiB, at most a quarter.
        pub reserve: Option<Bytes> = None,
        /// Where the node stands, as a rack or a site; copies are spread over zones.
        pub zone: String = String::new(),
        /// Labels for placement, as { disk = "ssd" }.
        pub labels: BTreeMap<String, String> = BTreeMap::new(),
    }
}

/// Least capacity of a target, in bytes.
const CAPACITY_MIN: u64 = 16 << 20;

impl Config {
    pub fn validate(&self) -> Result<(), Failure> {
        if self.data.is_empty() {
            return Err(Failure::new("no data directory", "give --data DIR"));
        }
        for (n, dir) in self.data.iter().enumerate() {
            if self.data[..n].contains(dir) {
                let dir = dir.display();
                return Err(Failure::new(
                    format!("{dir} is named twice"),
                    "give each --data directory once",
                ));
            }
        }
        self.advertise(OSD_PORT_FIRST)?;
        match self.capacity {
            Some(Bytes(capacity)) if capacity < CAPACITY_MIN => Err(Failure::new(
                format!("a capacity of {} is too small", Bytes(capacity)),
                format!("give --capacity of at least {}", Bytes(CAPACITY_MIN)),
            )),
            _ => Ok(()),
        }
    }

    /// `port` where none is given: the one that is listened on.
    pub fn advertise(&self, port: u16) -> Result<Vec<Address>, Failure> {
        let text = self.advertise.as_deref();
        let parsed = text.map(|text| Address::parse_list(text, port)).transpose();
        parsed
            .map(Option::unwrap_or_default)
            .map_err(|err| Failure::new(format!("advertise: {err}"), "correct --advertise"))
    }

    pub fn dir(&self) -> Result<&DirAddresses, Failure> {
        let missing = || Failure::new("no DIR address", "give --dir HOST, or set XTFS_DIR");
        self.dir.as_ref().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_types_cannot_say_is_checked() {
        #[track_caller]
        fn check(config: Config, why: &str) {
            let err = config.validate().unwrap_err().to_string();
            assert!(err.contains(why) && err.contains("; "), "{err}");
        }
        let sound = || Config { data: vec!["/a".into(), "/b".into()], ..Config::default() };
        assert_eq!(sound().validate(), Ok(()));
        check(Config::default(), "no data directory");
        check(Config { data: vec!["/a".into(), "/a".into()], ..sound() }, "named twice");
        check(Config { capacity: Some(Bytes(1)), ..sound() }, "too small");
        check(Config { advertise: Some("a b".into()), ..sound() }, "advertise");
        assert!(sound().dir().is_err());
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let text =
            "dir = \"meta1\"\ndata = [\"/a\"]\ncapacity = \"20GiB\"\nlabels = { disk = \"ssd\" }\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.capacity, Some(Bytes(20 << 30)));
        assert_eq!(config.dir().unwrap().to_string(), "meta1:32600");
        assert_eq!(config.labels["disk"], "ssd");
    }
}
