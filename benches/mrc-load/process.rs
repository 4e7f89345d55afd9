//! What a process has used so far, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel's unit of CPU time in /proc, on all of Linux.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    /// How often its threads were set on a CPU.
    pub(crate) switches: u64,
    /// Bytes that went to the disk, or will.
    pub(crate) written: u64,
}

impl Used {
    pub(crate) fn of(pid: u32) -> Result<Used> {
        let stat = read(pid, "stat")?;
        // After the name in brackets, which may hold anything: utime and stime are 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>()?;
        let written = field(&read(pid, "io")?, "write_bytes:").context("an io without bytes")?;
        Ok(Used { cpu: TICK * ticks, switches: switches(pid)?, written })
    }

    pub(crate) fn since(self, before: Used) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// Memory of its own, in bytes: not that of files.
pub(crate) fn anonymous_bytes(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    field(&status, "RssAnon:").map(|kib| kib << 10).context("a status without RssAnon")
}

fn switches(pid: u32) -> Result<u64> {
    let mut switches = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may have ended.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        for name in ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"] {
            switches += field(&status, name).unwrap_or(0);
        }
    }
    Ok(switches)
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
