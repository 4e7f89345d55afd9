//! copy_file_range(2): from file to file without going by the application.

use tokio::time::Instant;
use xtfs_core::{ByteRange, Error, FILE_SIZE_MAX, Result};

use crate::file::OpenFile;
use crate::holes::Reshape;

/// Bytes of data that are copied at a time; twice as much is held in memory.
const PIECE: u64 = 4 << 20;
/// From so many bytes of data on a call ends, before its caller's patience does: the rest is asked for again.
const CALL_DATA_MAX: u64 = 64 << 20;
/// Most bytes of one call, holes and all: as many as the kernel can be told of.
const CALL_MAX: u64 = 2 << 30;

/// What was copied at once.
struct Piece {
    len: u64,
    is_data: bool,
}

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
        let patience = self.mount().deadline() - self.mount().timeo / 2;
        let size = self.size().await?;
        let len = len.min(size.saturating_sub(offset));
        let end_out = offset_out.checked_add(len).filter(|&end| end <= FILE_SIZE_MAX);
        let end_out = end_out.ok_or(Error::FileTooLarge)?;
        if self.ino() == target.ino() && offset < end_out && offset_out < offset + len {
            return Err(Error::Invalid("the ranges of the file overlap".into()));
        }
        let len = len.min(CALL_MAX);
        let (mut done, mut data) = (0, 0);
        while done < len && data < CALL_DATA_MAX && (done == 0 || Instant::now() < patience) {
            let rest = ByteRange::between(offset + done, offset + len);
            match self.copy_piece(rest, target, offset_out + done).await {
                Ok(Piece { len: 0, .. }) => break,
                Ok(piece) => {
                    done += piece.len;
                    data += if piece.is_data { piece.len } else { 0 };
                }
                // What was copied is told; the next call meets the error.
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
        }
        Ok(done)
    }

    /// The first hole of `range`, or part of its first data.
    async fn copy_piece(&self, range: ByteRange, target: &OpenFile, to: u64) -> Result<Piece> {
        let data = self.first_data(range).await?;
        if data.is_none() && self.size().await? < range.end() {
            // It was cut meanwhile: no hole, but the end. The next call sees it.
            return Ok(Piece { len: 0, is_data: false });
        }
        let hole = data.map_or(range.len(), |data| data.start() - range.start());
        if hole > 0 {
            // Also grows the target if the hole ends it.
            target.reshape(Reshape::Zero { keep_size: false }, to, hole).await?;
            return Ok(Piece { len: hole, is_data: false });
        }
        let wanted = data.map_or(0, ByteRange::len).min(PIECE);
        let wanted = u32::try_from(wanted).map_err(|_| Error::FileTooLarge)?;
        let bytes = self.read(range.start(), wanted).await?;
        let len = bytes.len() as u64;
        target.locks_hold().await?;
        target.write_at(to, bytes).await?;
        Ok(Piece { len, is_data: true })
    }
}
