//! The two files of a segment: data, and the sums of its blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use xtfs_core::checksum::{BLOCK_SIZE, ZERO_BLOCK_SUM, block_sum};
use xtfs_core::{ColumnId, Error, Result};

pub(super) const BLOCK: u64 = BLOCK_SIZE as u64;

/// Bytes of a sum in the sidecar.
const SUM_SIZE: usize = 4;
const SUM: u64 = SUM_SIZE as u64;

/// Most parts of one `pwritev`.
const PARTS_MAX: usize = 1024;

/// Stands where a sum was lost. No block of zeros has it.
pub(super) const LOST_SUM: u32 = u32::MAX;

const REMEDY: &str =
    "restore the file from a copy, write the block anew, or delete the file that it belongs to";

/// An open segment. Offsets are within the segment.
#[derive(Debug)]
pub(super) struct Segment {
    data: File,
    sums: File,
    data_path: PathBuf,
    sums_path: PathBuf,
    /// For messages.
    column: ColumnId,
}

pub(super) fn directory_of(id: ColumnId) -> u8 {
    // Multiplicative hash: data numbers count, columns of one file have the same one.
    let name = id.volume.0.rotate_left(32)
        ^ id.data.0
        ^ (u64::from(id.index.0) << 40)
        ^ (u64::from(id.version.0) << 20);
    (name.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()[0]
}

pub(super) fn directory_path(columns: &Path, id: ColumnId) -> PathBuf {
    columns.join(format!("{:02x}", directory_of(id)))
}

fn paths(columns: &Path, id: ColumnId, segment: u32) -> (PathBuf, PathBuf) {
    let name = format!("{id}.{segment}");
    let directory = directory_path(columns, id);
    (directory.join(&name), directory.join(name + ".sums"))
}

/// The column of a segment's file, by its name.
pub(super) fn parse_name(name: &str) -> Option<ColumnId> {
    let name = name.strip_suffix(".sums").unwrap_or(name);
    name.rsplit_once('.')?.0.parse().ok()
}

pub(super) fn remove(columns: &Path, id: ColumnId, segment: u32) -> Result<()> {
    let (data, sums) = paths(columns, id, segment);
    for path in [data, sums] {
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(failed(&path, &err)),
            _ => {}
        }
    }
    Ok(())
}

/// Says which file failed, and sorts the cause by what the caller can do.
pub(super) fn failed(path: &Path, err: &io::Error) -> Error {
    let text = format!("{}: {err}", path.display());
    match err.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace(text),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Error::Overloaded(text),
        Some(libc::EFBIG) => Error::FileTooLarge,
        Some(libc::EIO) => Error::Corrupt(format!("{text}; check the disk")),
        _ => Error::Internal(text),
    }
}

/// CRC-32 of a block as the sidecar has it: a hole is 0. `piece` may lack the zeros at its end.
pub(super) fn stored_sum(piece: &[u8]) -> u32 {
    let sum = if piece.len() == BLOCK_SIZE { crc32fast::hash(piece) } else { block_sum(piece) };
    sum ^ ZERO_BLOCK_SUM
}

impl Segment {
    /// `None`: there is no data file.
    pub(super) fn open(columns: &Path, id: ColumnId, segment: u32) -> Result<Option<Segment>> {
        let (data_path, sums_path) = paths(columns, id, segment);
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let data = match open(&data_path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|err| failed(&data_path, &err))?,
        };
        let sums = open(&sums_path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => missing(&sums_path),
            _ => failed(&sums_path, &err),
        })?;
        Ok(Some(Segment { data, sums, data_path, sums_path, column: id }))
    }

    /// Makes empty files. What a power cut left of an unknown segment goes.
    pub(super) fn create(columns: &Path, id: ColumnId, segment: u32) -> Result<Segment> {
        let (data_path, sums_path) = paths(columns, id, segment);
        let create = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true);
            options.open(path).map_err(|err| failed(path, &err))
        };
        let (data, sums) = (create(&data_path)?, create(&sums_path)?);
        Ok(Segment { data, sums, data_path, sums_path, column: id })
    }

    pub(super) fn is_gone(columns: &Path, id: ColumnId, segment: u32) -> bool {
        !paths(columns, id, segment).0.exists()
    }

    /// The error for a data file that should be there.
    pub(super) fn missing(columns: &Path, id: ColumnId, segment: u32) -> Error {
        missing(&paths(columns, id, segment).0)
    }

    /// Fills `out` from `offset` and answers the stored sums of its blocks, all of them checked. The last block
    /// may be short.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<Vec<u32>> {
        let there =
            read_at(&self.data, out, offset).map_err(|err| failed(&self.data_path, &err))?;
        let sums = self.sums(offset, out.len().div_ceil(BLOCK_SIZE))?;
        for (index, (piece, &sum)) in out.chunks(BLOCK_SIZE).zip(&sums).enumerate() {
            let end = index * BLOCK_SIZE + piece.len();
            if end > there || stored_sum(piece) != sum {
                let block = offset / BLOCK + index as u64;
                return Err(self.corrupt(block, end > there, sum, piece));
            }
        }
        Ok(sums)
    }

    /// The stored sums of `blocks` blocks from `offset`. Those that the sidecar lacks are lost.
    pub(super) fn sums(&self, offset: u64, blocks: usize) -> Result<Vec<u32>> {
        let mut bytes = vec![0; blocks * SUM_SIZE];
        let there = read_at(&self.sums, &mut bytes, offset / BLOCK * SUM)
            .map_err(|err| failed(&self.sums_path, &err))?;
        let (whole, _) = bytes.as_chunks();
        let mut sums: Vec<u32> = whole.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        sums[there / SUM_SIZE..].fill(LOST_SUM);
        Ok(sums)
    }

    fn corrupt(&self, block: u64, short: bool, sum: u32, piece: &[u8]) -> Error {
        let cause = if short {
            format!("{} is truncated", self.data_path.display())
        } else if sum == LOST_SUM {
            format!("{} lacks its sum", self.sums_path.display())
        } else {
            let found = stored_sum(piece) ^ ZERO_BLOCK_SUM;
            let stored = sum ^ ZERO_BLOCK_SUM;
            let path = self.data_path.display();
            format!("{path} has sum {found:08x} there, its checksum file says {stored:08x}")
        };
        let offset = block * BLOCK;
        Error::Corrupt(format!(
            "column {}, block {block} (offset {offset} of the segment): {cause}; {REMEDY}",
            self.column
        ))
    }

    /// Whether all of `bytes` has its place on disk, so that an overwrite takes none.
    pub(super) fn is_allocated(&self, bytes: &Range<u64>) -> bool {
        match seek(&self.data, SeekFrom::Hole(bytes.start)) {
            Ok(hole) => hole >= bytes.end,
            Err(_) => false,
        }
    }

    /// The same, also if the room was taken ahead: then taking it again changes nothing.
    pub(super) fn has_room(&self, bytes: &Range<u64>) -> Result<bool> {
        if self.is_allocated(bytes) {
            return Ok(true);
        }
        let before = self.allocated()?;
        let taken = self.allocate(bytes).and_then(|()| self.allocated());
        match taken {
            Ok(after) if after == before => Ok(true),
            Ok(_) | Err(Error::NoSpace(_)) => {
                self.release(bytes)?;
                Ok(false)
            }
            Err(err) => Err(err),
        }
    }

    /// Takes room for `bytes` and their sums. What is there stays; the lengths of the files, too.
    pub(super) fn allocate(&self, bytes: &Range<u64>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mode = FallocateFlags::KEEP_SIZE;
        let sums = bytes.start / BLOCK * SUM..bytes.end.div_ceil(BLOCK) * SUM;
        fallocate(&self.sums, mode, sums.start, sums.end - sums.start)
            .map_err(|err| failed(&self.sums_path, &err.into()))?;
        fallocate(&self.data, mode, bytes.start, bytes.end - bytes.start)
            .map_err(|err| failed(&self.data_path, &err.into()))
    }

    /// Gives room back that is taken for `bytes` and not written to.
    pub(super) fn release(&self, bytes: &Range<u64>) -> Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let mut at = bytes.start.next_multiple_of(BLOCK);
        while at < bytes.end {
            let data = self.next_data(at)?.unwrap_or(u64::MAX).min(bytes.end) / BLOCK * BLOCK;
            if data > at {
                fallocate(&self.data, mode, at, data - at)
                    .map_err(|err| failed(&self.data_path, &err.into()))?;
            }
            match self.next_hole(data.max(at))? {
                hole if hole > at => at = hole.next_multiple_of(BLOCK),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// The first byte from `offset` that is in a hole, or beyond the end.
    pub(super) fn next_hole(&self, offset: u64) -> Result<u64> {
        match seek(&self.data, SeekFrom::Hole(offset)) {
            Ok(hole) => Ok(hole),
            Err(rustix::io::Errno::NXIO) => Ok(offset),
            Err(err) => Err(failed(&self.data_path, &err.into())),
        }
    }

    /// The first byte from `offset` that is not in a hole. `None`: there is none.
    pub(super) fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        next_data(&self.data, offset).map_err(|err| failed(&self.data_path, &err))
    }

    /// How much of `bytes` is not in holes.
    pub(super) fn data_in(&self, bytes: &Range<u64>) -> Result<u64> {
        let (mut at, mut sum) = (bytes.start, 0);
        while let Some(data) = self.next_data(at)?.filter(|&data| data < bytes.end) {
            let hole = self.next_hole(data)?.clamp(data + 1, bytes.end);
            sum += hole - data;
            at = hole;
        }
        Ok(sum)
    }

    /// Writes the part of `data` from `skip`, `length` bytes, at `offset`.
    pub(super) fn write(
        &self,
        offset: u64,
        data: &[Bytes],
        skip: usize,
        length: usize,
    ) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts(data, skip, length).map(IoSlice::new).collect();
        let mut left = slices.as_mut_slice();
        let mut at = offset;
        while !left.is_empty() {
            let count = left.len().min(PARTS_MAX);
            let written = match rustix::io::pwritev(&self.data, &left[..count], at) {
                Ok(0) => return Err(failed(&self.data_path, &io::ErrorKind::WriteZero.into())),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(err) => return Err(failed(&self.data_path, &err.into())),
            };
            at += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    pub(super) fn write_sums(&self, offset: u64, stored: &[u32]) -> Result<()> {
        let bytes: Vec<u8> = stored.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.sums
            .write_all_at(&bytes, offset / BLOCK * SUM)
            .map_err(|err| failed(&self.sums_path, &err))
    }

    /// Bytes of the data file, and of the blocks that the sidecar has sums for.
    pub(super) fn sizes(&self) -> Result<(u64, u64)> {
        let size = |file: &File, path: &Path| {
            file.metadata().map(|meta| meta.len()).map_err(|err| failed(path, &err))
        };
        let sums = size(&self.sums, &self.sums_path)? / SUM;
        Ok((size(&self.data, &self.data_path)?, sums * BLOCK))
    }

    /// Bytes of the data on disk.
    pub(super) fn allocated(&self) -> Result<u64> {
        let meta = self.data.metadata().map_err(|err| failed(&self.data_path, &err))?;
        Ok(meta.blocks() * 512)
    }

    pub(super) fn set_data_length(&self, length: u64) -> Result<()> {
        self.data.set_len(length).map_err(|err| failed(&self.data_path, &err))
    }

    /// Room for the sums of `length` bytes of data.
    pub(super) fn set_sums_length(&self, length: u64) -> Result<()> {
        self.sums.set_len(length.div_ceil(BLOCK) * SUM).map_err(|err| failed(&self.sums_path, &err))
    }

    /// Both files reach to `length`: what they lack is a hole.
    pub(super) fn set_length(&self, length: u64) -> Result<()> {
        self.set_data_length(length)?;
        self.set_sums_length(length)
    }

    /// Says of blocks in `bytes` that their sums are lost, so that nothing passes for a hole there.
    pub(super) fn lose_sums(&self, bytes: &Range<u64>) -> Result<()> {
        tracing::error!(
            file = %self.sums_path.display(), column = %self.column, from = bytes.start,
            "checksum file is truncated; what it covered cannot be read: {REMEDY}"
        );
        let mut at = bytes.start;
        while at < bytes.end {
            let blocks = (bytes.end - at).div_ceil(BLOCK).min(1 << 16);
            self.write_sums(at, &vec![LOST_SUM; fit(blocks, 1 << 16)])?;
            at += blocks * BLOCK;
        }
        Ok(())
    }

    /// Makes a hole of whole blocks; `bytes` ends at a block border or at the end of the data.
    pub(super) fn punch(&self, bytes: &Range<u64>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let sums = bytes.start / BLOCK * SUM..bytes.end.div_ceil(BLOCK) * SUM;
        fallocate(&self.sums, mode, sums.start, sums.end - sums.start)
            .map_err(|err| failed(&self.sums_path, &err.into()))?;
        fallocate(&self.data, mode, bytes.start, bytes.end - bytes.start)
            .map_err(|err| failed(&self.data_path, &err.into()))
    }

    /// Makes the sums of `bytes` anew from what the data file has; the blocks begin at block borders.
    pub(super) fn sum_anew(&self, bytes: &Range<u64>, buffer: &mut [u8]) -> Result<()> {
        let mut at = bytes.start;
        while at < bytes.end {
            // Holes of both files agree already.
            let sums_at = at / BLOCK * SUM;
            let next_sum =
                next_data(&self.sums, sums_at).map_err(|err| failed(&self.sums_path, &err))?;
            // The block of the sums' first byte that is there; `at` itself if that is in the middle.
            let next_sum = next_sum.map(|byte| (byte / SUM * BLOCK).max(at));
            let next = match (self.next_data(at)?, next_sum) {
                (Some(data), Some(sum)) => data.min(sum),
                (data, sum) => match data.or(sum) {
                    Some(next) => next,
                    None => return Ok(()),
                },
            };
            at = at.max(next / BLOCK * BLOCK);
            if at >= bytes.end {
                return Ok(());
            }
            let wanted = fit(bytes.end - at, buffer.len());
            let there = read_at(&self.data, &mut buffer[..wanted], at)
                .map_err(|err| failed(&self.data_path, &err))?;
            let made: Vec<u32> = buffer[..there].chunks(BLOCK_SIZE).map(stored_sum).collect();
            // Only what differs is written: a full disk has no room for sums of holes.
            if self.sums(at, made.len())? != made {
                self.write_sums(at, &made)?;
            }
            at += wanted as u64;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.data.sync_data().map_err(|err| failed(&self.data_path, &err))?;
        self.sums.sync_data().map_err(|err| failed(&self.sums_path, &err))
    }
}

fn missing(path: &Path) -> Error {
    Error::Corrupt(format!("{} is missing; {REMEDY}", path.display()))
}

/// `length`, or as much of it as `capacity` takes.
pub(super) fn fit(length: u64, capacity: usize) -> usize {
    usize::try_from(length).map_or(capacity, |length| length.min(capacity))
}

/// The slices that make up `length` bytes of `data` after the first `skip`.
pub(super) fn parts(data: &[Bytes], skip: usize, length: usize) -> impl Iterator<Item = &[u8]> {
    let (mut skip, mut left) = (skip, length);
    data.iter().filter_map(move |part| {
        let start = skip.min(part.len());
        skip -= start;
        let slice = &part[start..part.len().min(start + left)];
        left -= slice.len();
        (!slice.is_empty()).then_some(slice)
    })
}

fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(next) => Ok(Some(next)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// As much as there is; less than asked only at the end of the file.
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut there = 0;
    while there < out.len() {
        match file.read_at(&mut out[there..], offset + there as u64) {
            Ok(0) => break,
            Ok(more) => there += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(there)
}
