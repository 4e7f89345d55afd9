//! On whose behalf the kernel asks: FUSE tells user, group and process, but not the further groups.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xtfs_client::Caller;

/// Long enough to spare a busy process most look-ups, short enough that nobody notices old groups.
const GROUPS_VALID: Duration = Duration::from_millis(100);
/// Processes remembered; beyond it all are forgotten.
const PROCESSES_MAX: usize = 1024;

/// User, group, process: a process that drops its rights is another caller at once.
type Who = (u32, u32, u32);

#[derive(Debug, Default)]
pub(crate) struct Callers {
    groups: Mutex<HashMap<Who, (Instant, Vec<u32>)>>,
}

impl Callers {
    pub(crate) fn caller(&self, (uid, gid, pid): Who) -> Caller {
        // Root needs no group, and a request of the kernel itself has no process.
        let groups = if uid == 0 || pid == 0 { Vec::new() } else { self.groups((uid, gid, pid)) };
        Caller { uid, gid, groups, pid }
    }

    fn groups(&self, who: Who) -> Vec<u32> {
        let now = Instant::now();
        if let Some((read, groups)) = self.groups.lock().get(&who)
            && now.duration_since(*read) < GROUPS_VALID
        {
            return groups.clone();
        }
        // The process waits for our answer, so it is still there, unless it was killed.
        let status = std::fs::read_to_string(format!("/proc/{}/status", who.2)).unwrap_or_default();
        let groups = groups_of(&status);
        let mut known = self.groups.lock();
        if known.len() >= PROCESSES_MAX {
            known.clear();
        }
        known.insert(who, (now, groups.clone()));
        groups
    }
}

fn groups_of(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_whitespace().filter_map(|group| group.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_from_the_process() {
        assert_eq!(groups_of("Name:\tx\nGroups:\t4 24 1000 \nNStgid:\t1\n"), [4, 24, 1000]);
        assert_eq!(groups_of(""), [0; 0]);
        let callers = Callers::default();
        let own = callers.caller((1000, 1000, std::process::id()));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(own.groups, groups_of(&status));
        assert_eq!(callers.caller((0, 0, std::process::id())).groups, [0; 0]);
    }
}
