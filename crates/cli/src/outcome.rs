//! How a tool ends: exit codes, and one line on stderr when it could not do what it was asked.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use xtfs_rpc::Failure;

/// Exit codes of all tools but `mount.xtfs`, whose codes mount(8) sets.
pub(crate) const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Runs a tool to its exit code, within `timeout`. A failure is exit code 1.
pub(crate) fn run(
    program: &str,
    timeout: Option<Duration>,
    tool: impl Future<Output = Result<u8, Failure>>,
) -> ExitCode {
    run_or(FAILED, program, timeout, tool)
}

/// The same with an exit code of its own for a failure.
pub(crate) fn run_or(
    failed: u8,
    program: &str,
    timeout: Option<Duration>,
    tool: impl Future<Output = Result<u8, Failure>>,
) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(err) => {
            let failure = Failure::new(format!("cannot start threads: {err}"), "check ulimit -u");
            return report(program, &failure, failed);
        }
    };
    let ended = runtime.block_on(async {
        let Some(timeout) = timeout else { return tool.await };
        // A little longer, so that the call that was waited for says itself what did not answer.
        let patience = timeout + timeout / 4;
        tokio::time::timeout(patience, tool).await.unwrap_or_else(|_| {
            let shown = humantime::format_duration(timeout);
            Err(Failure::new(format!("not done within {shown}"), "give it a longer --timeout"))
        })
    });
    // A call that did not end must not hold the tool.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(program, &failure, failed),
    }
}

fn report(program: &str, failure: &Failure, code: u8) -> ExitCode {
    eprintln!("{program}: {failure}");
    ExitCode::from(code)
}
