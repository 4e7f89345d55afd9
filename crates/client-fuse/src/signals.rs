//! Whether a task that waits for us has a signal to take.

/// A signal is pending that the task does not block, or the task is gone. One outside our namespace of processes is
/// never seen, and waits.
pub(crate) fn is_interrupted(task: u32) -> bool {
    if task == 0 {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{task}/status")) {
        Ok(status) => has_signal(&status),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn has_signal(status: &str) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_signal_counts_unless_it_is_blocked() {
        let status = |thread: &str, process: &str, blocked: &str| {
            let text =
                format!("Name:\tx\nSigPnd:\t{thread}\nShdPnd:\t{process}\nSigBlk:\t{blocked}\n");
            has_signal(&text)
        };
        assert!(!status("0000000000000000", "0000000000000000", "0000000000000000"));
        assert!(status("0000000000000100", "0000000000000000", "0000000000000000"));
        assert!(status("0000000000000000", "0000000000000002", "0000000000000004"));
        assert!(!status("0000000000000000", "0000000000000004", "0000000000000004"));
        assert!(!is_interrupted(std::process::id()));
        assert!(is_interrupted(u32::MAX >> 2), "there is no such task");
    }
}
