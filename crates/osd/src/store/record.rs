//! Keys and values of a target in its `kv`: see `docs/format.md`.
//!
//! Keys are a letter and integers big-endian, so that columns are in the order of their ids. Values are a
//! format byte and postcard.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xtfs_core::{
    ColumnId, ColumnIndex, DataNumber, DataVersion, Error, FileEpoch, GroupId, ReplicaSetId,
    Result, Timestamp, VolumeId,
};
use xtfs_kv::KeyRange;

use super::boot::Environment;

/// First byte of every value; a change of the fields takes another.
const FORMAT: u8 = 1;

pub(super) const BOOT: &[u8] = b"b";
pub(super) const COLUMNS: &[u8] = b"c";
pub(super) const TOMBSTONES: &[u8] = b"t";
pub(super) const NEVER_USED: &[u8] = b"n";

const COLUMN_KEY_LEN: usize = 1 + 8 + 8 + 2 + 4;

/// What is known of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) file_epoch: FileEpoch,
    /// The floor that came with the epoch, in bytes of the column; it has been cut to.
    pub(super) floor: Option<u64>,
    pub(super) length: u64,
    /// Beyond it everything counts as marked.
    pub(super) synced_length: u64,
    pub(super) mtime: Timestamp,
    pub(super) allocated: u64,
    /// The directory entries of all segments are on disk.
    pub(super) entries_synced: bool,
    /// Those that exist, ascending; the others are holes.
    pub(super) segments: Vec<u32>,
}

/// Stands for a deleted column until no capability for it can be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub(super) deleted: Timestamp,
    /// Removed once more with the tombstone: a power cut may have brought them back.
    pub(super) segments: Vec<u32>,
}

/// The run of host and file system that the store last saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BootRecord {
    pub(super) number: u64,
    pub(super) environment: Environment,
}

/// Data numbers `first..end` of a group that were never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverUsed {
    pub(super) group: GroupId,
    pub(super) first: u64,
    pub(super) end: u64,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT])
        .map_err(|err| Error::Internal(format!("encoding a record: {err}")))
}

/// `key` is for the message.
pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    let broken = |cause: &dyn std::fmt::Display| {
        Error::Corrupt(format!(
            "record {key:02x?} of the target's kv: {cause}; restore the data directory, or remove it and \
             register an empty one"
        ))
    };
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|err| broken(&err)),
        Some((format, _)) => Err(broken(&format_args!("format {format} is not known"))),
        None => Err(broken(&"empty")),
    }
}

pub(super) fn column_key(id: ColumnId) -> Vec<u8> {
    key_of(COLUMNS, id)
}

pub(super) fn tombstone_key(id: ColumnId) -> Vec<u8> {
    key_of(TOMBSTONES, id)
}

/// A dirty mark of a range; its value is empty.
pub(super) fn mark_key(id: ColumnId, range: u64) -> Vec<u8> {
    let mut key = key_of(b"d", id);
    key.extend(range.to_be_bytes());
    key
}

pub(super) fn marks_of(id: ColumnId) -> KeyRange {
    KeyRange::prefix(&key_of(b"d", id))
}

pub(super) fn marked_range(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

pub(super) fn set_key(set: ReplicaSetId) -> Vec<u8> {
    [b"s".as_slice(), &set.0.to_be_bytes()].concat()
}

pub(super) fn never_used_key(range: NeverUsed) -> Vec<u8> {
    let NeverUsed { group, first, end } = range;
    [NEVER_USED, &group.0.to_be_bytes(), &first.to_be_bytes(), &end.to_be_bytes()].concat()
}

pub(super) fn parse_never_used(key: &[u8]) -> Option<NeverUsed> {
    Some(NeverUsed {
        group: GroupId(u32::from_be_bytes(key.get(1..5)?.try_into().ok()?)),
        first: u64::from_be_bytes(key.get(5..13)?.try_into().ok()?),
        end: u64::from_be_bytes(key.get(13..21)?.try_into().ok()?),
    })
}

/// The column of a key made by `column_key` or `tombstone_key`.
pub(super) fn parse_column(key: &[u8]) -> Option<ColumnId> {
    if key.len() != COLUMN_KEY_LEN {
        return None;
    }
    Some(ColumnId {
        volume: VolumeId(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?)),
        data: DataNumber(u64::from_be_bytes(key.get(9..17)?.try_into().ok()?)),
        index: ColumnIndex(u16::from_be_bytes(key.get(17..19)?.try_into().ok()?)),
        version: DataVersion(u32::from_be_bytes(key.get(19..23)?.try_into().ok()?)),
    })
}

fn key_of(prefix: &[u8], id: ColumnId) -> Vec<u8> {
    let mut key = Vec::with_capacity(COLUMN_KEY_LEN + 8);
    key.extend(prefix);
    key.extend(id.volume.0.to_be_bytes());
    key.extend(id.data.0.to_be_bytes());
    key.extend(id.index.0.to_be_bytes());
    key.extend(id.version.0.to_be_bytes());
    key
}

impl NeverUsed {
    pub(super) fn covers(self, id: ColumnId) -> bool {
        id.volume.0 >> 32 == u64::from(self.group.0) && (self.first..self.end).contains(&id.data.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ColumnId {
        ColumnId {
            volume: VolumeId::new(GroupId(2), 7),
            data: DataNumber(0x1122),
            index: ColumnIndex(3),
            version: DataVersion(4),
        }
    }

    /// Bytes on disk: a change of them takes another format byte and a reader for the old one.
    #[test]
    fn the_bytes_of_records_are_these() {
        let record = Record {
            file_epoch: FileEpoch(300),
            floor: Some(5),
            length: 4097,
            synced_length: 1,
            mtime: Timestamp(-1),
            allocated: 8192,
            entries_synced: true,
            segments: vec![0, 2],
        };
        let bytes = encode(&record).unwrap();
        assert_eq!(bytes, [1, 0xac, 2, 1, 5, 0x81, 0x20, 1, 1, 0x80, 0x40, 1, 2, 0, 2]);
        assert_eq!(decode::<Record>(b"", &bytes).unwrap(), record);

        let tombstone = Tombstone { deleted: Timestamp(1), segments: vec![0] };
        assert_eq!(encode(&tombstone).unwrap(), [1, 2, 1, 0]);
        let environment = Environment { host_boot: "h".to_owned(), filesystem: "f".to_owned() };
        let boot = BootRecord { number: 9, environment };
        assert_eq!(encode(&boot).unwrap(), [1, 9, 1, b'h', 1, b'f']);
    }

    #[test]
    fn the_bytes_of_keys_are_these() {
        let tail = [0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0, 3, 0, 0, 0, 4];
        assert_eq!(column_key(id()), [b"c".as_slice(), &tail].concat());
        assert_eq!(tombstone_key(id()), [b"t".as_slice(), &tail].concat());
        let mark = mark_key(id(), 258);
        assert_eq!(mark, [b"d".as_slice(), &tail, &[0, 0, 0, 0, 0, 0, 1, 2]].concat());
        assert_eq!(marked_range(&mark), Some(258));
        assert_eq!(parse_column(&column_key(id())), Some(id()));
        let never = NeverUsed { group: GroupId(2), first: 5, end: 9 };
        assert_eq!(parse_never_used(&never_used_key(never)), Some(never));
    }

    #[test]
    fn an_unknown_format_is_refused() {
        for value in [b"".as_slice(), &[2, 0], &[1, 0xff]] {
            let err = decode::<Record>(b"c", value).unwrap_err();
            assert!(matches!(err, Error::Corrupt(_)), "{err}");
        }
    }
}
