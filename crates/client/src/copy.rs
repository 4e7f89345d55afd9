//! copy_file_range(2): from file to file without going by the application.

use xtfs_core::{ByteRange, Error, FILE_SIZE_MAX, Result};

use crate::file::OpenFile;
use crate::holes::Reshape;

/// Bytes that are copied at a time; twice as much is held in memory.
const PIECE: u64 = 4 << 20;
/// Most bytes of one call, so that it ends before its caller's patience: the rest is asked for again.
const CALL_MAX: u64 = 64 << 20;

impl OpenFile {
    /// Copies at most `len` bytes from `offset` to `offset_out` of `target`, holes as holes. Fewer only at the end of
    /// this file, or after much was copied; zero at or beyond the end.
    pub async fn copy_range(
        &self,
        offset: u64,
        target: &OpenFile,
        offset_out: u64,
        len: u64,
    ) -> Result<u64> {
        let overflow = |at: u64| at.checked_add(len).is_none_or(|end| end > FILE_SIZE_MAX);
        if overflow(offset_out) {
            return Err(Error::FileTooLarge);
        }
        let end = offset.checked_add(len).ok_or_else(|| Error::Invalid("offset".into()))?;
        let same = self.ino() == target.ino();
        if same && offset < offset_out + len && offset_out < end {
            return Err(Error::Invalid("the ranges of the file overlap".into()));
        }
        let size = self.size().await?;
        let len = len.min(size.saturating_sub(offset)).min(CALL_MAX);
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(PIECE);
            let copied = self.copy_piece(offset + done, target, offset_out + done, piece).await;
            match copied {
                Ok(0) => break,
                Ok(copied) => done += copied,
                // What was copied is told; the next call meets the error.
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
        }
        Ok(done)
    }

    async fn copy_piece(&self, from: u64, target: &OpenFile, to: u64, len: u64) -> Result<u64> {
        let range = ByteRange::between(from, from + len);
        let data = self.first_data(range).await?;
        let hole = data.map_or(len, |data| data.start() - from);
        if hole > 0 {
            // Also grows the target if the hole ends it.
            target.reshape(Reshape::Zero { keep_size: false }, to, hole).await?;
            return Ok(hole);
        }
        let data = data.map_or(0, ByteRange::len);
        let wanted = u32::try_from(data).map_err(|_| Error::FileTooLarge)?;
        let bytes = self.read(from, wanted).await?;
        let copied = bytes.len() as u64;
        target.write_at(to, bytes).await?;
        Ok(copied)
    }
}
