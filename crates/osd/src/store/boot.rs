//! Which run of host and file system a store belongs to (O3).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use xtfs_core::{Error, Result};
use xtfs_kv::{Batch, Durability, Kv};

use super::record::{self, BootRecord};

/// What the page cache of a store lives and dies with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Environment {
    /// Made by the kernel at each start.
    pub host_boot: String,
    /// Device and mount of the data directory.
    pub filesystem: String,
}

impl Environment {
    /// As the kernel tells it.
    pub fn of(dir: &Path) -> Result<Environment> {
        let boot_id = "/proc/sys/kernel/random/boot_id";
        let host_boot = std::fs::read_to_string(boot_id)
            .map_err(|err| Error::Internal(format!("{boot_id}: {err}; mount /proc")))?;
        let failed = |err: &dyn std::fmt::Display| {
            Error::Unavailable(format!("data directory {}: {err}", dir.display()))
        };
        let device = std::fs::metadata(dir).map_err(|err| failed(&err))?.dev();
        // STATX_MNT_ID_UNIQUE: never used again, unlike the plain mount id, which older kernels answer.
        let wanted = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(0x4000);
        let mount = statx(CWD, dir, AtFlags::empty(), wanted).map_err(|err| failed(&err))?;
        Ok(Environment {
            host_boot: host_boot.trim().to_owned(),
            filesystem: format!("{device:x}.{:x}", mount.stx_mnt_id),
        })
    }
}

/// The boot number of a store that opens in `environment`; durable.
pub(super) fn start(kv: &dyn Kv, environment: &Environment) -> Result<u64> {
    let known = stored(kv)?;
    let number = match &known {
        Some(known) if known.environment == *environment => return Ok(known.number),
        Some(known) => known.number + 1,
        None => 1,
    };
    store(kv, &BootRecord { number, environment: environment.clone() })?;
    Ok(number)
}

/// The number after a failed sync: what the kernel dropped is to be written again.
pub(super) fn renew(kv: &dyn Kv, number: u64) -> Result<()> {
    match stored(kv)? {
        Some(known) => store(kv, &BootRecord { number, ..known }),
        None => Err(Error::Internal("the store has no boot record".to_owned())),
    }
}

fn stored(kv: &dyn Kv) -> Result<Option<BootRecord>> {
    kv.get(record::BOOT)?.map(|value| record::decode(record::BOOT, &value)).transpose()
}

fn store(kv: &dyn Kv, known: &BootRecord) -> Result<()> {
    let mut batch = Batch::default();
    batch.put(record::BOOT, &record::encode(known)?);
    kv.write(batch, Durability::Synced)
}
