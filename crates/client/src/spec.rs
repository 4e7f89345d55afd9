//! What is mounted, and how.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use xtfs_rpc::{AddressError, DirAddresses};

/// `host[:port][,host2[:port]…]/volume[/sub/dir]`, also with `xtfs://` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    dirs: DirAddresses,
    volume: String,
    subdir: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// After this long an operation that gets no answer fails.
    pub timeo: Duration,
    pub read_only: bool,
    /// Where the list of services is kept over mounts. `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// For people who look at sessions: where this is mounted.
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not HOST[:PORT][,HOST…]/VOLUME[/SUBDIR]: {why}")]
pub struct SpecError {
    text: String,
    why: String,
}

impl MountSpec {
    pub fn dirs(&self) -> &DirAddresses {
        &self.dirs
    }

    pub fn volume(&self) -> &str {
        &self.volume
    }

    /// Without leading or trailing slashes.
    pub fn subdir(&self) -> Option<&str> {
        self.subdir.as_deref()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeo: Duration::from_secs(30),
            read_only: false,
            cache_dir: None,
            description: String::new(),
        }
    }
}

impl FromStr for MountSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = |why: &str| SpecError { text: text.to_owned(), why: why.to_owned() };
        let rest = text.strip_prefix("xtfs://").unwrap_or(text);
        let (dirs, path) = rest.split_once('/').ok_or_else(|| bad("it names no volume"))?;
        let dirs = dirs.parse().map_err(|err: AddressError| bad(&err.to_string()))?;
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let volume = parts.next().ok_or_else(|| bad("it names no volume"))?.to_owned();
        let subdir: Vec<_> = parts.collect();
        if subdir.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(bad("the directory goes through . or .."));
        }
        let subdir = (!subdir.is_empty()).then(|| subdir.join("/"));
        Ok(MountSpec { dirs, volume, subdir })
    }
}

impl fmt::Display for MountSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dirs, self.volume)?;
        match &self.subdir {
            Some(subdir) => write!(f, "/{subdir}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_round_trips_through_text() {
        #[track_caller]
        fn check(text: &str, shown: &str, volume: &str, subdir: Option<&str>) {
            let spec: MountSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), shown);
            assert_eq!((spec.volume(), spec.subdir()), (volume, subdir));
            assert_eq!(shown.parse(), Ok(spec));
        }
        check("meta1/v", "meta1:32600/v", "v", None);
        check("xtfs://a:1,b:2/v//x/y/", "a:1,b:2/v/x/y", "v", Some("x/y"));
        for bad in ["", "host", "host/", "/v", "a:1,/v", "a:1/v/../w"] {
            assert!(bad.parse::<MountSpec>().is_err(), "{bad:?}");
        }
    }
}
