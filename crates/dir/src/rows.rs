//! What the DIR stores.
//!
//! | key | value |
//! |---|---|
//! | `c` | cluster id |
//! | `g` | number of MRC groups ever made |
//! | `k` | keys, oldest first |
//! | `m` id of an MRC | [`MrcRow`] |
//! | `n` group | number of volumes that the group ever made |
//! | `t` id of a target | [`TargetRow`] |
//! | `v` name of a volume | [`VolumeRow`] |
//!
//! A value is a format byte and the fields in postcard's encoding.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xtfs_core::{ClusterId, Error, GroupId, Result, ServiceId, TargetId, Timestamp, VolumeId};
use xtfs_kv::{KeyRange, Read, Transaction};
use xtfs_rpc::{Address, TargetState};

const FORMAT: u8 = 1;
/// Rows read at once.
const SCAN_ROWS: usize = 1000;

/// What is remembered of a target, also while it is silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRow {
    pub(crate) facts: TargetFacts,
    pub(crate) host: Host,
    pub(crate) state: TargetState,
}

/// What an OSD says of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetFacts {
    pub(crate) id: TargetId,
    pub(crate) path: String,
    pub(crate) total_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) filesystem: String,
    pub(crate) zone: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) boot: u64,
    pub(crate) fault: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MrcRow {
    pub(crate) id: ServiceId,
    pub(crate) group: GroupId,
    pub(crate) host: Host,
}

/// Where a daemon runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) node: String,
    pub(crate) addresses: Vec<Address>,
    pub(crate) version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRow {
    pub(crate) id: VolumeId,
    pub(crate) group: GroupId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) id: u32,
    pub(crate) secret: Secret,
    pub(crate) made: Timestamp,
}

/// Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(crate) fn cluster(read: &dyn Read) -> Result<Option<ClusterId>> {
    load(read, b"c")
}

pub(crate) fn put_cluster(tx: &mut Transaction<'_>, cluster: ClusterId) {
    put(tx, b"c", &cluster);
}

/// Oldest first.
pub(crate) fn keys(read: &dyn Read) -> Result<Vec<KeyRow>> {
    Ok(load(read, b"k")?.unwrap_or_default())
}

pub(crate) fn put_keys(tx: &mut Transaction<'_>, keys: &Vec<KeyRow>) {
    put(tx, b"k", keys);
}

pub(crate) fn groups_made(read: &dyn Read) -> Result<u32> {
    Ok(load(read, b"g")?.unwrap_or(0))
}

pub(crate) fn put_groups_made(tx: &mut Transaction<'_>, count: u32) {
    put(tx, b"g", &count);
}

pub(crate) fn volumes_made(read: &dyn Read, group: GroupId) -> Result<u32> {
    Ok(load(read, &key(b'n', &group.0.to_be_bytes()))?.unwrap_or(0))
}

pub(crate) fn put_volumes_made(tx: &mut Transaction<'_>, group: GroupId, count: u32) {
    put(tx, &key(b'n', &group.0.to_be_bytes()), &count);
}

pub(crate) fn target(read: &dyn Read, id: TargetId) -> Result<Option<TargetRow>> {
    load(read, &key(b't', id.0.as_bytes()))
}

pub(crate) fn targets(read: &dyn Read) -> Result<Vec<TargetRow>> {
    Ok(scan(read, b't')?.into_iter().map(|(_, row)| row).collect())
}

pub(crate) fn put_target(tx: &mut Transaction<'_>, row: &TargetRow) {
    put(tx, &key(b't', row.facts.id.0.as_bytes()), row);
}

pub(crate) fn mrc(read: &dyn Read, id: ServiceId) -> Result<Option<MrcRow>> {
    load(read, &key(b'm', id.0.as_bytes()))
}

pub(crate) fn mrcs(read: &dyn Read) -> Result<Vec<MrcRow>> {
    Ok(scan(read, b'm')?.into_iter().map(|(_, row)| row).collect())
}

pub(crate) fn put_mrc(tx: &mut Transaction<'_>, row: &MrcRow) {
    put(tx, &key(b'm', row.id.0.as_bytes()), row);
}

pub(crate) fn volume(read: &dyn Read, name: &str) -> Result<Option<VolumeRow>> {
    load(read, &key(b'v', name.as_bytes()))
}

pub(crate) fn volumes(read: &dyn Read) -> Result<Vec<(String, VolumeRow)>> {
    let named = |(key, row): (Vec<u8>, VolumeRow)| {
        let name = String::from_utf8(key[1..].to_vec());
        Ok((name.map_err(|_| Error::Corrupt("the name of a volume".into()))?, row))
    };
    scan(read, b'v')?.into_iter().map(named).collect()
}

pub(crate) fn put_volume(tx: &mut Transaction<'_>, name: &str, row: &VolumeRow) {
    put(tx, &key(b'v', name.as_bytes()), row);
}

pub(crate) fn delete_volume(tx: &mut Transaction<'_>, name: &str) {
    tx.delete(&key(b'v', name.as_bytes()));
}

fn key(table: u8, rest: &[u8]) -> Vec<u8> {
    [&[table], rest].concat()
}

fn put<T: Serialize>(tx: &mut Transaction<'_>, key: &[u8], value: &T) {
    let bytes = postcard::to_extend(value, vec![FORMAT]).expect("a row is plain values");
    tx.put(key, &bytes);
}

fn load<T: DeserializeOwned>(read: &dyn Read, key: &[u8]) -> Result<Option<T>> {
    read.get(key)?.map(|bytes| decode(key, &bytes)).transpose()
}

fn scan<T: DeserializeOwned>(read: &dyn Read, table: u8) -> Result<Vec<(Vec<u8>, T)>> {
    let mut rows = Vec::new();
    let mut range = KeyRange::prefix(&[table]);
    loop {
        let page = read.scan(&range, SCAN_ROWS)?;
        let last = page.last().map(|(key, _)| key.clone());
        let full = page.len() == SCAN_ROWS;
        for (key, bytes) in page {
            let row = decode(&key, &bytes)?;
            rows.push((key, row));
        }
        match last {
            Some(last) if full => range = KeyRange::prefix_after(&[table], &last),
            _ => return Ok(rows),
        }
    }
}

fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T> {
    let corrupt = || {
        let table = key.first().copied().map_or('?', char::from);
        Error::Corrupt(format!(
            "a row of table {table:?} of the DIR; restore its data directory from a copy"
        ))
    };
    let fields = bytes.strip_prefix(&[FORMAT]).ok_or_else(corrupt)?;
    postcard::from_bytes(fields).map_err(|_| corrupt())
}
