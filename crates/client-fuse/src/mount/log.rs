//! Where the log goes: standard error in the foreground, else a file that was asked for, else syslog.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::daemon::Status;
use crate::failure::Failure;
use crate::options::MountRequest;

/// Facility daemon, severity informational.
const PRIORITY: u32 = 3 << 3 | 6;

/// Starts logging and sends panics there as well.
pub(super) fn start(request: &MountRequest, status: &Status) -> Result<(), Failure> {
    let usual = if request.verbose { "debug,h2=info,hyper=info" } else { "info,fuser=warn" };
    let filter = EnvFilter::try_from_env("XTFS_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let done = if let Some(path) = &request.options.log {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            Failure::system(format!("log {}: {error}", path.display()), "take another -o log=")
        })?;
        builder.with_writer(Mutex::new(file)).try_init()
    } else if matches!(status, Status::Terminal) {
        builder.with_writer(io::stderr).try_init()
    } else {
        builder.without_time().with_writer(Syslog::connect()).try_init()
    };
    // A second start in one process keeps the first one's log.
    if done.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task panicked")));
    }
    Ok(())
}

/// One datagram for each line; without a daemon that listens lines go nowhere.
struct Syslog {
    socket: Option<UnixDatagram>,
}

impl Syslog {
    fn connect() -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.connect("/dev/log")?;
            // A daemon that hangs must not hang the mount.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Syslog { socket: socket.ok() }
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { socket: self.socket.as_ref() }
    }
}

struct Line<'a> {
    socket: Option<&'a UnixDatagram>,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(socket) = self.socket {
            let pid = std::process::id();
            let text = String::from_utf8_lossy(text);
            let line = format!("<{PRIORITY}>mount.xtfs[{pid}]: {}", text.trim_end());
            // A full socket loses the line.
            let _ = socket.send(line.as_bytes());
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
