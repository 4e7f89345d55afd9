//! Removing columns for good.

use std::time::Duration;

use xtfs_core::{
    ColumnId, ColumnIndex, DataNumber, DataVersion, GroupId, Result, Timestamp, VolumeId,
};
use xtfs_kv::{Batch, Durability, KeyRange};

use super::column::{Presence, State};
use super::record::{self, NeverUsed, Tombstone};
use super::segment::{self, failed, parse_name};
use super::{PAGE, Store};

/// Columns whose deletion is one write of kv.
const DELETE_BATCH: usize = 256;

impl Store {
    /// Removes columns for good; durable on return, with tombstones. Unknown columns get one, too.
    pub fn delete(&self, columns: &[ColumnId], now: Timestamp) -> Result<()> {
        columns.chunks(DELETE_BATCH).try_for_each(|chunk| self.delete_batch(chunk, now))
    }

    /// Removes the columns of `group` whose data number is in `first..end`, which were never given out (R9), and
    /// refuses them from then on. Answers how many there were.
    pub fn delete_data_range(
        &self,
        group: GroupId,
        first: u64,
        end: u64,
        now: Timestamp,
    ) -> Result<usize> {
        let range = NeverUsed { group, first, end };
        let mut batch = Batch::default();
        batch.put(&record::never_used_key(range), &record::encode(&now)?);
        self.kv.write(batch, Durability::Synced)?;
        let mut ranges = self.never_used.write();
        if !ranges.contains(&range) {
            ranges.push(range);
        }
        drop(ranges);
        let mut found = self.recorded_in(range)?;
        // A power cut may have left files without a record.
        found.extend(self.files_in(range)?);
        found.sort_unstable();
        found.dedup();
        self.delete(&found, now)?;
        Ok(found.len())
    }

    /// Forgets tombstones older than `age`, which must outlive every capability. Answers how many.
    pub fn gc(&self, now: Timestamp, age: Duration) -> Result<usize> {
        self.gc_never_used(now, age)?;
        let mut range = KeyRange::prefix(record::TOMBSTONES);
        let mut forgotten = 0;
        loop {
            let page = self.kv.scan(&range, PAGE)?;
            let mut batch = Batch::default();
            for (key, value) in &page {
                let tombstone: Tombstone = record::decode(key, value)?;
                let Some(id) = record::parse_column(key) else { continue };
                if now.since(tombstone.deleted) >= age {
                    self.remove_files(id, &tombstone.segments)?;
                    batch.delete(key);
                    forgotten += 1;
                }
            }
            self.kv.write(batch, Durability::Process)?;
            match page.last() {
                Some((last, _)) if page.len() == PAGE => {
                    range = KeyRange::prefix_after(record::TOMBSTONES, last);
                }
                _ => return Ok(forgotten),
            }
        }
    }

    fn gc_never_used(&self, now: Timestamp, age: Duration) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in self.kv.scan(&KeyRange::prefix(record::NEVER_USED), usize::MAX)? {
            let told: Timestamp = record::decode(&key, &value)?;
            if now.since(told) >= age {
                batch.delete(&key);
                let old = record::parse_never_used(&key);
                self.never_used.write().retain(|range| Some(*range) != old);
            }
        }
        self.kv.write(batch, Durability::Process)
    }

    fn delete_batch(&self, ids: &[ColumnId], now: Timestamp) -> Result<()> {
        let mut batch = Batch::default();
        let mut removed = Vec::new();
        for &id in ids {
            let column = self.columns.at(id);
            // Who writes has finished then; who comes later is refused.
            let mut state = column.state.write();
            let gone = self.delete_in_memory(id, &mut state)?;
            let tombstone = Tombstone { deleted: now, segments: gone };
            batch.put(&record::tombstone_key(id), &record::encode(&tombstone)?);
            batch.delete(&record::column_key(id));
            for (key, _) in self.kv.scan(&record::marks_of(id), usize::MAX)? {
                batch.delete(&key);
            }
            drop(state);
            removed.push((column, tombstone.segments));
        }
        if let Err(err) = self.kv.write(batch, Durability::Synced) {
            // Kv says what they are.
            removed.iter().for_each(|(column, _)| *column.state.write() = State::default());
            return Err(err);
        }
        for (column, segments) in removed {
            self.remove_files(column.id, &segments)?;
        }
        Ok(())
    }

    /// Answers the segments to remove.
    fn delete_in_memory(&self, id: ColumnId, state: &mut State) -> Result<Vec<u32>> {
        let stored = match state.presence {
            Presence::Present => Some(state.record.clone()),
            Presence::Unknown | Presence::Absent | Presence::Deleted => {
                let key = record::column_key(id);
                self.kv.get(&key)?.map(|value| record::decode(&key, &value)).transpose()?
            }
        };
        let record = stored.unwrap_or_default();
        self.disk.resized(record.allocated, 0);
        *state = State { presence: Presence::Deleted, ..State::default() };
        // Also what a power cut left of a column that it forgot.
        let mut segments = record.segments;
        if !segments.contains(&0) {
            segments.insert(0, 0);
        }
        Ok(segments)
    }

    fn remove_files(&self, id: ColumnId, segments: &[u32]) -> Result<()> {
        for &number in segments {
            self.open_segments.remove(&(id, number));
            segment::remove(&self.directory, id, number)?;
        }
        Ok(())
    }

    /// Columns with a record in `range`, volume by volume.
    fn recorded_in(&self, range: NeverUsed) -> Result<Vec<ColumnId>> {
        let mut found = Vec::new();
        let first = |volume, data| {
            let (data, index, version) = (DataNumber(data), ColumnIndex(0), DataVersion(0));
            record::column_key(ColumnId { volume, data, index, version })
        };
        let group_end = record_end(range.group);
        let mut start = first(VolumeId::new(range.group, 0), range.first);
        loop {
            let rest = KeyRange { start: start.clone(), end: Some(group_end.clone()) };
            let page = self.records(&rest, PAGE)?;
            let Some((id, _)) = page.first() else { return Ok(found) };
            start = if id.data.0 < range.first {
                first(id.volume, range.first)
            } else if id.data.0 >= range.end {
                match id.volume.0.checked_add(1) {
                    Some(next) => first(VolumeId(next), range.first),
                    None => return Ok(found),
                }
            } else {
                let within = page
                    .iter()
                    .take_while(|(other, _)| other.volume == id.volume && range.covers(*other));
                // The first one is within.
                let within: Vec<_> = within.map(|(id, _)| *id).collect();
                let mut next = record::column_key(*within.last().unwrap_or(id));
                next.push(0);
                found.extend(within);
                next
            };
        }
    }

    fn files_in(&self, range: NeverUsed) -> Result<Vec<ColumnId>> {
        let mut found = Vec::new();
        for number in 0..=u8::MAX {
            let directory = self.directory.join(format!("{number:02x}"));
            let entries = std::fs::read_dir(&directory).map_err(|err| failed(&directory, &err))?;
            for entry in entries {
                let name = entry.map_err(|err| failed(&directory, &err))?.file_name();
                found.extend(name.to_str().and_then(parse_name).filter(|id| range.covers(*id)));
            }
        }
        Ok(found)
    }
}

/// Behind the keys of all columns of `group`.
fn record_end(group: GroupId) -> Vec<u8> {
    let prefix = [record::COLUMNS, &group.0.to_be_bytes()].concat();
    KeyRange::prefix(&prefix).end.unwrap_or_else(|| vec![u8::MAX])
}
