//! Memory for reads, used again: a fresh mebibyte costs more page faults than its copy.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller ones come from the allocator.
const POOLED_MIN: usize = 64 << 10;
/// Larger ones, too.
const POOLED_MAX: usize = 4 << 20;
/// Bytes that lie idle in the pool at most.
const IDLE_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
pub(super) struct Buffers {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Goes back to the pool when the last reference to its bytes is gone.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    pool: Arc<Buffers>,
}

impl Buffers {
    /// `length` bytes of any content.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let size = if (POOLED_MIN..=POOLED_MAX).contains(&length) {
            length.next_power_of_two()
        } else {
            length
        };
        let mut idle = self.idle.lock();
        let found = idle.buffers.iter().rposition(|buffer| buffer.len() == size);
        let bytes = found.map(|index| idle.buffers.swap_remove(index));
        if bytes.is_some() {
            idle.bytes -= size;
        }
        drop(idle);
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; size]), length, pool: Arc::clone(self) }
    }
}

impl Buffer {
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    pub(super) fn freeze(mut self, length: usize) -> Bytes {
        debug_assert!(length <= self.length);
        self.length = length;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.pool.idle.lock();
        let pooled = (POOLED_MIN..=POOLED_MAX).contains(&bytes.len());
        if pooled && idle.bytes + bytes.len() <= IDLE_MAX {
            idle.bytes += bytes.len();
            idle.buffers.push(bytes);
        }
    }
}
