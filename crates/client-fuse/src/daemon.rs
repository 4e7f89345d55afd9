//! Into the background and back with the truth: the caller gets its answer when the mount answers, or why it does not.
//!
//! The program starts itself once more, in the foreground of a session of its own, with a pipe for standard output. On
//! that it says `ok`, or code, cause and hint. So nothing is forked after a thread was started.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};

mod inherited;

use crate::failure::{ExitKind, Failure};
use crate::options::{self, CONFIG_PATH, Invocation, MountRequest};

const READY: &str = "ok";

/// Where the outcome of a mount is said.
#[derive(Debug)]
pub(crate) enum Status {
    /// To the process that waits on the pipe.
    Pipe,
    /// To whoever reads standard error.
    Terminal,
}

/// What mount.xtfs does.
pub fn main() -> ExitCode {
    let result = invocation().and_then(|invocation| match invocation {
        Invocation::Help => {
            println!("{}", options::cli().render_help());
            Ok(())
        }
        Invocation::Version => {
            println!("mount.xtfs {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Invocation::Mount(request) if request.status_on_stdout => in_background(*request),
        Invocation::Mount(request) if request.foreground => {
            crate::mount::run(*request, Status::Terminal)
        }
        // Nothing that stays: needs no process of its own.
        Invocation::Mount(request) if request.fake || request.options.remount => {
            crate::mount::run(*request, Status::Terminal)
        }
        Invocation::Mount(_) => launch(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mount.xtfs: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn invocation() -> Result<Invocation, Failure> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let environment = |name: &str| std::env::var(name).ok();
    // A broken file must not hide the help.
    let bare = options::parse(args.clone(), &|_| None, &Default::default());
    if let Ok(Invocation::Help | Invocation::Version) = bare {
        return bare;
    }
    let config = options::read_config(CONFIG_PATH.as_ref())?;
    options::parse(args, &environment, &config)
}

/// The caller's process: starts the mount's and waits for its word.
fn launch() -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::system(format!("cannot start: {error}"), "try again");
    inherited::close_at_exec();
    // The name under which it is found in lists of processes is that of the file.
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    let mut child = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .arg0("mount.xtfs")
        .arg("--status-on-stdout")
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(broken)?;
    pass_signals_on(&child).map_err(broken)?;
    let said = match child.stdout.take() {
        Some(pipe) => first_line(BufReader::new(pipe)),
        None => String::new(),
    };
    match understood(&said) {
        Some(result) => result,
        None => Err(vanished(&mut child)),
    }
}

/// An impatient caller takes the mount down with it: the child unmounts, and says nothing more.
fn pass_signals_on(child: &Child) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            if let Some(pid) = pid {
                // It may be gone already.
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
            eprintln!("mount.xtfs: interrupted; nothing is mounted");
            std::process::exit(i32::from(ExitKind::Interrupted as u8));
        }
    })?;
    Ok(())
}

fn first_line(mut from: impl BufRead) -> String {
    let mut line = String::new();
    // A broken pipe is no word, which is understood.
    let _ = from.read_line(&mut line);
    line
}

fn vanished(child: &mut Child) -> Failure {
    let how = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Failure::mount(format!("the mount process ended early ({how})"), "run it with -f to see more")
}

/// `ok`, or code, cause and hint with tabs between.
fn understood(line: &str) -> Option<Result<(), Failure>> {
    let line = line.strip_suffix('\n')?;
    if line == READY {
        return Some(Ok(()));
    }
    let mut parts = line.splitn(3, '\t');
    let kind = match parts.next()?.parse::<u8>().ok()? {
        1 => ExitKind::Usage,
        2 => ExitKind::System,
        8 => ExitKind::Interrupted,
        _ => ExitKind::MountFailure,
    };
    Some(Err(Failure::new(kind, parts.next()?, parts.next()?)))
}

fn told(failure: &Failure) -> String {
    let clean = |text: &str| text.replace(['\t', '\n'], " ");
    format!("{}\t{}\t{}\n", failure.exit_code(), clean(&failure.cause), clean(&failure.hint))
}

/// The mount's process. Its failure goes through the pipe; nobody reads its standard error.
fn in_background(request: MountRequest) -> Result<(), Failure> {
    let result = rustix::process::setsid()
        .map_err(|errno| Failure::system(format!("setsid: {errno}"), "try again"))
        .and_then(|_| crate::mount::run(request, Status::Pipe));
    if let Err(failure) = &result {
        let mut pipe = io::stdout();
        // The caller may have gone away.
        let _ = pipe.write_all(told(failure).as_bytes()).and_then(|()| pipe.flush());
    }
    result
}

impl Status {
    /// The mount answers. An error: nobody waits for it any more.
    pub(crate) fn ready(&self) -> io::Result<()> {
        match self {
            Status::Terminal => Ok(()),
            Status::Pipe => {
                let mut pipe = io::stdout();
                pipe.write_all(format!("{READY}\n").as_bytes())?;
                pipe.flush()?;
                // Closes the pipe, so that who collects the caller's output does not wait for us.
                let flags = OFlags::RDWR | OFlags::CLOEXEC;
                let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
                Ok(rustix::stdio::dup2_stdout(&null)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        assert_eq!(understood("ok\n"), Some(Ok(())));
        let failure = Failure::mount("no volume\t\"v\"\nat m", "lsfs.xtfs m");
        let heard = understood(&told(&failure)).unwrap().unwrap_err();
        assert_eq!(heard.to_string(), "no volume \"v\" at m; lsfs.xtfs m");
        assert_eq!(heard.exit_code(), 32);
        for kind in [ExitKind::Usage, ExitKind::System, ExitKind::Interrupted] {
            let failure = Failure::new(kind, "a", "b");
            assert_eq!(understood(&told(&failure)), Some(Err(failure)));
        }
    }

    #[test]
    fn half_a_word_is_none() {
        for said in ["", "ok", "32\tcause", "32\tcause\n", "x\ty\tz\n"] {
            assert_eq!(understood(said), None, "{said:?}");
        }
    }
}
