//! What an operator asks about.

use std::time::Instant;

use xtfs_core::{Ino, Result, SessionId};
use xtfs_proto::v1;

use super::Mrc;

/// How much there is of what an operator asks about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sessions: u64,
    pub(crate) open_files: u64,
    pub(crate) deletions: u64,
    pub(crate) settlements: u64,
}

impl Mrc {
    /// Counts up to a bound: more of it says no more.
    pub(crate) fn counts(&self) -> Result<Counts> {
        const COUNTED_MAX: usize = 10_000;
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.view(|view| {
            let mut counts =
                Counts { sessions: number(view.sessions()?.len()), ..Counts::default() };
            for volume in view.volumes()? {
                let volume = view.any_volume(volume.id)?;
                counts.open_files += number(volume.open_files()?);
                counts.deletions += number(volume.orphans(Ino(0), COUNTED_MAX)?.len());
                counts.settlements += number(volume.all_pending(Ino(0), COUNTED_MAX)?.len());
            }
            Ok(counts)
        })
    }

    /// Free bytes on the disk of the data directory.
    pub(crate) fn free_bytes(&self) -> u64 {
        match rustix::fs::statvfs(&self.data) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(_) => 0,
        }
    }

    /// Why it does not serve changes, and the next step.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(fault) = self.log.fault() {
            return Some(format!("{fault}; see the log of xtfs-mrc and restart it"));
        }
        let free = self.free_bytes();
        (free < self.min_free_bytes).then(|| {
            format!(
                "{} has only {free} bytes free, changes are refused; free space there",
                self.data.display()
            )
        })
    }

    pub(crate) fn requests_at_work(&self) -> usize {
        self.slots_max.saturating_sub(self.slots.available_permits())
    }

    pub(crate) async fn keep_alive(
        &self,
        session: SessionId,
        message: &v1::SessionUp,
    ) -> Result<v1::SessionDown> {
        // A leader that has lost its group must not keep sessions alive.
        self.log.barrier().await?;
        let lost = !self.clocks.renew_known(session, Instant::now());
        let log = self.log_status();
        if message.recovered_term == log.term {
            self.clocks.recovered(session);
        }
        Ok(v1::SessionDown {
            log: Some(log),
            sequence: message.sequence,
            lost,
            recalls: Vec::new(),
        })
    }
}
