//! How full a target is.

/// Bytes of a target. `total = used + free + reserve` but for what others use of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub used: u64,
    /// What may still be written; the reserve is not in it.
    pub free: u64,
    /// The file system that holds it: targets on one disk are told by it.
    pub device: u64,
    /// The target has a capacity of its own and counts by itself.
    pub capped: bool,
}
