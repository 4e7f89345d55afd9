//! What `df` says of a volume, from the DIR's list of targets.

use std::collections::HashSet;

use crate::placement::Standing;

/// A target as far as space goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub standing: Standing,
    /// It sends heartbeats and reports no fault.
    pub serves: bool,
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    /// Names the file system that it lies on; empty: it has a capacity of its own.
    pub filesystem: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// What a new file can take.
    pub available_bytes: u64,
}

/// Counts a file system once, however many targets lie on it. A removed target does not count; one
/// that is away or locked counts as used up, since its files are still there.
pub fn capacity(disks: &[Disk]) -> Capacity {
    let mut seen = HashSet::new();
    let mut sum = Capacity::default();
    // The best view of a shared file system is that of a target which takes new files.
    let mut disks: Vec<_> =
        disks.iter().filter(|disk| disk.standing != Standing::Removed).collect();
    disks.sort_by_key(|disk| (!takes_files(disk), !disk.serves));
    for disk in disks {
        if !disk.filesystem.is_empty() && !seen.insert(disk.filesystem.as_str()) {
            continue;
        }
        let free = disk.total_bytes.saturating_sub(disk.used_bytes);
        sum.total_bytes = sum.total_bytes.saturating_add(disk.total_bytes);
        if disk.serves {
            sum.free_bytes = sum.free_bytes.saturating_add(free.max(disk.free_bytes));
        }
        if takes_files(disk) {
            sum.available_bytes = sum.available_bytes.saturating_add(disk.free_bytes);
        }
    }
    sum
}

fn takes_files(disk: &Disk) -> bool {
    disk.serves && disk.standing == Standing::Online
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(filesystem: &str) -> Disk {
        Disk {
            standing: Standing::Online,
            serves: true,
            total_bytes: 100,
            used_bytes: 30,
            free_bytes: 60,
            filesystem: filesystem.to_owned(),
        }
    }

    #[track_caller]
    fn check(disks: &[Disk], total_bytes: u64, free_bytes: u64, available_bytes: u64) {
        assert_eq!(capacity(disks), Capacity { total_bytes, free_bytes, available_bytes });
    }

    #[test]
    fn a_file_system_counts_once_and_a_capped_target_by_itself() {
        check(&[], 0, 0, 0);
        check(&[disk("a"), disk("a"), disk("b")], 200, 140, 120);
        check(&[disk("a"), disk(""), disk("")], 300, 210, 180);
    }

    #[test]
    fn what_takes_no_files_is_not_available() {
        let locked = Disk { standing: Standing::Locked, ..disk("b") };
        check(&[disk("a"), locked.clone()], 200, 140, 60);
        check(&[locked, disk("b")], 100, 70, 60);
        let away = Disk { serves: false, ..disk("b") };
        check(&[disk("a"), away], 200, 70, 60);
        let removed = Disk { standing: Standing::Removed, ..disk("b") };
        check(&[disk("a"), removed], 100, 70, 60);
    }
}
