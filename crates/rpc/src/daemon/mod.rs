//! What every daemon does around its service: options, logs, signals, readiness, exit codes.

mod config;
mod logging;
mod options;

use std::fmt::Display;
use std::process::ExitCode;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use config::{Describe, load_config, sample_config};
pub use logging::{LogOptions, start_logging};
pub use options::{command, parse};

use crate::failure::Failure;

/// Exit code for a command line that is wrong.
pub const USAGE: u8 = 64;

/// Runs `main` on a runtime of its own with a token that SIGTERM and SIGINT cancel. A failure
/// becomes one line on stderr and exit code 1.
pub fn run<E: Display>(
    program: &str,
    main: impl AsyncFnOnce(CancellationToken) -> Result<(), E>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return fail(program, &format!("cannot start threads: {err}; check ulimit -u")),
    };
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(&stop).map_err(|err| format!("cannot watch signals: {err}"))?;
        main(stop).await.map_err(|err| err.to_string())
    });
    // What still blocks a thread must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => fail(program, &line),
    }
}

/// Tells systemd that the service can be used.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// What goes to stderr when a program cannot go on.
fn fail(program: &str, line: &str) -> ExitCode {
    // Once more for errors that are not a `Failure`: one line whatever happened.
    eprintln!("{program}: {}", Failure::new(line, ""));
    ExitCode::FAILURE
}

fn stop_on_signals(stop: &CancellationToken) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    // Lives as long as the runtime: it is owned by the process.
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        notify(NotifyState::Stopping);
        stop.cancel();
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!("second signal: stopping at once");
        std::process::exit(1);
    });
    Ok(())
}

fn notify(state: NotifyState<'_>) {
    if let Err(err) = sd_notify::notify(&[state]) {
        tracing::debug!("tell systemd: {err}");
    }
}
