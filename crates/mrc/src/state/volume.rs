//! A volume and its policies, as they are stored.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xtfs_core::access::Identity;
use xtfs_core::{Error, Ino, Result, StripeLayout, Timestamp, VolumeId};

/// Longest name of a volume, in bytes.
pub const VOLUME_NAME_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub id: VolumeId,
    pub name: String,
    pub policy: VolumePolicy,
    pub created: Timestamp,
    /// Deleted: its name is free, its inodes are going. Set to the last inode that was dealt with.
    pub purged: Option<Ino>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePolicy {
    /// What new files get where no directory says otherwise.
    pub layout: StripeLayout,
    /// An owner may give files away.
    pub chown_non_root: bool,
    /// Root of a client counts as nobody.
    pub root_squash: bool,
    pub atime: Atime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Atime {
    /// Moves if it is not newer than mtime and ctime, or a day old.
    Relatime,
    Noatime,
    Strictatime,
}

/// A policy that can be changed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    ChownNonRoot(bool),
    RootSquash(bool),
    Atime(Atime),
    Layout(StripeLayout),
}

/// What the inodes of a volume that have a name take: the root is not counted, and bytes are sizes of
/// files, not what they occupy (a hole counts, as it does in `ls -l`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub files: u64,
    pub bytes: u64,
}

impl Volume {
    /// Whom a caller counts as here. The one place of root squash.
    pub fn identity(&self, caller: Identity) -> Identity {
        if self.policy.root_squash { caller.squashed() } else { caller }
    }
}

impl VolumePolicy {
    pub(super) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::ChownNonRoot(allowed) => self.chown_non_root = allowed,
            Setting::RootSquash(squash) => self.root_squash = squash,
            Setting::Atime(atime) => self.atime = atime,
            Setting::Layout(layout) => self.layout = layout,
        }
    }
}

impl Setting {
    /// As on the command line.
    pub fn parse(key: &str, value: &str) -> Result<Setting> {
        match key {
            "chown_non_root" => parse_bool(key, value).map(Setting::ChownNonRoot),
            "root_squash" => parse_bool(key, value).map(Setting::RootSquash),
            "atime" => value.parse().map(Setting::Atime),
            _ => Err(Error::Invalid(format!(
                "there is no setting {key:?}; known are chown_non_root, root_squash, atime"
            ))),
        }
    }
}

fn parse_bool(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Error::Invalid(format!("{key} is true or false, not {value:?}"))),
    }
}

impl FromStr for Atime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "relatime" => Ok(Atime::Relatime),
            "noatime" => Ok(Atime::Noatime),
            "strictatime" => Ok(Atime::Strictatime),
            _ => Err(Error::Invalid(format!(
                "atime is relatime, noatime or strictatime, not {text:?}"
            ))),
        }
    }
}

impl Atime {
    pub fn name(self) -> &'static str {
        match self {
            Atime::Relatime => "relatime",
            Atime::Noatime => "noatime",
            Atime::Strictatime => "strictatime",
        }
    }
}
