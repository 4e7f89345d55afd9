//! Whether a task that waits for us has a signal to take.

use std::fs::{read_dir, read_to_string};

/// What a task would go on with, if we answered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signals {
    None,
    /// It has one to take. For one that has none the kernel would show an errno of its own to the program.
    Pending,
    /// It is killed, whatever we answer.
    Killed,
}

/// As the kernel writes them; signal 1 is the lowest bit.
const KILL: u64 = 1 << (9 - 1);

/// What `/proc` tells of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Status {
    process: u32,
    pending: u64,
    /// Of the whole process: one thread takes it.
    shared: u64,
    blocked: u64,
    gone: bool,
}

/// Of a task that is outside our namespace of processes, or hidden from us, nothing is ever seen. It is not gone, as it
/// waits for us.
pub(crate) fn signals(task: u32) -> Signals {
    let Some(status) = Status::read(&format!("/proc/{task}/status")) else { return Signals::None };
    if status.shared & !status.blocked == 0 || status.process == task {
        return status.signals(task, []);
    }
    let threads =
        read_dir(format!("/proc/{}/task", status.process)).into_iter().flatten().flatten();
    let others = threads.filter(|it| it.file_name().to_str() != Some(&task.to_string()));
    let others = others.filter_map(|it| Status::read(it.path().join("status").to_str()?));
    status.signals(task, others)
}

impl Status {
    fn read(path: &str) -> Option<Status> {
        Some(Status::parse(&read_to_string(path).ok()?))
    }

    fn parse(text: &str) -> Status {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim()
        };
        let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or_default();
        Status {
            process: field("Tgid:").parse().unwrap_or_default(),
            pending: mask("SigPnd:"),
            shared: mask("ShdPnd:"),
            blocked: mask("SigBlk:"),
            gone: field("State:").starts_with(['Z', 'X']),
        }
    }

    /// A signal of the process wakes its first thread, unless that blocks it, and then any one of those that do not: which
    /// cannot be seen, so it counts for another than the first only if no other can have been woken.
    fn signals(self, task: u32, others: impl IntoIterator<Item = Status>) -> Signals {
        if (self.pending | self.shared) & KILL != 0 {
            return Signals::Killed;
        }
        let mut own = self.shared;
        if self.process != task {
            let living = others.into_iter().filter(|other| !other.gone);
            own &= living.fold(u64::MAX, |blocked, other| blocked & other.blocked);
        }
        if (self.pending | own) & !self.blocked == 0 { Signals::None } else { Signals::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(process: u32, pending: u64, shared: u64, blocked: u64) -> Status {
        let text = format!(
            "Name:\tx\nState:\tS (sleeping)\nTgid:\t{process}\nPid:\t7\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\n"
        );
        let status = Status::parse(&text);
        assert_eq!(status, Status { process, pending, shared, blocked, gone: false });
        status
    }

    #[test]
    fn a_pending_signal_counts_unless_it_is_blocked() {
        assert_eq!(status(7, 0, 0, 0).signals(7, []), Signals::None);
        assert_eq!(status(7, 1 << 9, 0, 0).signals(7, []), Signals::Pending);
        assert_eq!(status(7, 0, 2, 4).signals(7, []), Signals::Pending);
        assert_eq!(status(7, 0, 4, 4).signals(7, []), Signals::None);
        assert_eq!(status(7, KILL | 2, 0, 2).signals(7, []), Signals::Killed);
        assert_eq!(signals(std::process::id()), Signals::None);
        assert_eq!(signals(u32::MAX >> 2), Signals::None, "it is hidden, not gone");
    }

    #[test]
    fn a_signal_of_the_process_counts_for_the_thread_that_was_woken() {
        let thread = status(6, 0, 2, 0);
        let (open, blocking) = (status(6, 0, 2, 0), status(6, 0, 2, 2));
        assert_eq!(thread.signals(7, [open]), Signals::None);
        assert_eq!(thread.signals(7, [blocking, open]), Signals::None);
        assert_eq!(thread.signals(7, [blocking, blocking]), Signals::Pending);
        assert_eq!(thread.signals(7, [Status { gone: true, ..open }]), Signals::Pending);
        assert_eq!(status(6, 8, 2, 0).signals(7, [open]), Signals::Pending);
        assert_eq!(status(6, KILL, 2, 0).signals(7, [open]), Signals::Killed);
    }
}
