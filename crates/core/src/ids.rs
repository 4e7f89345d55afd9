//! Names of things. Two of them never mix by accident because each is its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

/// Ids that are random: made without asking anybody.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one, later than all made before on this host.
            pub fn generate() -> Self {
                $name(Uuid::now_v7())
            }

            /// Decodes the 16 bytes that travel on the wire.
            pub fn from_wire(bytes: &[u8]) -> Result<Self, crate::Error> {
                Uuid::from_slice(bytes)
                    .map($name)
                    .map_err(|_| crate::Error::Invalid(format!("{} of {} bytes", $what, bytes.len())))
            }

            pub fn to_wire(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bad = |_| ParseIdError { what: $what, text: text.to_owned() };
                text.parse().map($name).map_err(bad)
            }
        }
    };
}

/// Ids that count.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// An installation: one DIR group and everything registered there.
    ClusterId, "cluster id"
);
uuid_id!(
    /// A daemon with a data directory, for as long as that directory lives.
    ServiceId, "service id"
);
uuid_id!(
    /// A storage target: one data directory of an OSD, for as long as it lives.
    TargetId, "target id"
);
uuid_id!(
    /// One run of a daemon. Two runs that claim one id at once are told apart by it.
    InstanceId, "instance id"
);
uuid_id!(
    /// One mount or tool, for as long as it runs.
    ClientId, "client id"
);

number_id!(
    /// A replicated group of MRCs. Zero stands for none.
    GroupId(u32)
);
number_id!(
    /// A namespace with its own policies; unique in the cluster: the group that made it, and a count.
    VolumeId(u64)
);
number_id!(
    /// Inode number within its volume. Never reused; the root is 1.
    Ino(u64)
);
number_id!(
    /// Names one layout of a file's data; unique in the group and never reused.
    DataNumber(u64)
);
number_id!(
    /// Version of a layout's data. Zero until snapshots exist.
    DataVersion(u32)
);
number_id!(
    /// Which column of a layout, counted from zero.
    ColumnIndex(u16)
);
number_id!(
    /// A set of targets that hold the same columns.
    ReplicaSetId(u64)
);
number_id!(
    /// Grows with every change of a replica set.
    SetEpoch(u64)
);
number_id!(
    /// Fence of a file: grows when a right is given over a silent holder, or the file is cut.
    FileEpoch(u64)
);
number_id!(
    /// A client's session at an MRC group. Zero stands for none.
    SessionId(u64)
);
number_id!(
    /// Number of a mutating request within its session, from one. Zero stands for none.
    RequestNumber(u64)
);
number_id!(
    /// Number of a store's run: new when what was not synced may be lost.
    BootNumber(u64)
);
number_id!(
    /// Counts a client's connections to one target.
    Generation(u64)
);

/// Smallest size in bytes that a file had since all its columns confirmed an epoch. An OSD that meets
/// a newer epoch cuts its column to this. [`Floor::NONE`]: nothing to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Floor(pub u64);

/// One column of one layout of a file: its name at an OSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnId {
    pub volume: VolumeId,
    pub data: DataNumber,
    pub index: ColumnIndex,
    pub version: DataVersion,
}

impl Floor {
    pub const NONE: Floor = Floor(u64::MAX);
}

impl Ino {
    pub const ROOT: Ino = Ino(1);
}

impl VolumeId {
    /// The `count`th volume that `group` made.
    pub fn new(group: GroupId, count: u32) -> Self {
        VolumeId(u64::from(group.0) << 32 | u64::from(count))
    }
}

impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ColumnId { volume, data, index, version } = self;
        write!(f, "{:x}.{:x}.{}.{}", volume.0, data.0, index.0, version.0)
    }
}

impl FromStr for ColumnId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseIdError { what: "column id", text: text.to_owned() };
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or_else(bad);
        let hex = |digits| u64::from_str_radix(digits, 16).map_err(|_| bad());
        let id = ColumnId {
            volume: VolumeId(hex(next()?)?),
            data: DataNumber(hex(next()?)?),
            index: ColumnIndex(next()?.parse().map_err(|_| bad())?),
            version: DataVersion(next()?.parse().map_err(|_| bad())?),
        };
        if parts.next().is_some() { Err(bad()) } else { Ok(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_id_round_trips_through_text() {
        let id = ColumnId {
            volume: VolumeId::new(GroupId(2), 7),
            data: DataNumber(0xab),
            index: ColumnIndex(3),
            version: DataVersion(0),
        };
        assert_eq!(id.to_string(), "200000007.ab.3.0");
        assert_eq!("200000007.ab.3.0".parse(), Ok(id));
        for bad in ["", "1.2.3", "1.2.3.4.5", "x.2.3.4", "1.2.70000.0"] {
            assert!(bad.parse::<ColumnId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn uuids_round_trip_through_text_and_wire() {
        let id = TargetId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TargetId::from_wire(&id.to_wire()), Ok(id));
        assert!(TargetId::from_wire(b"short").is_err());
    }
}
