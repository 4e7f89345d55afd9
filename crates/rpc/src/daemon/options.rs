//! Command lines: an environment variable for every option, and exit code 64 for wrong usage.

use std::process::ExitCode;

use clap::builder::OsStr;
use clap::{Command, Parser};

use super::USAGE;

/// Reads the command line and environment of `program` (as `xtfs-osd`). `Err` is the exit code after
/// help, version or a complaint was printed.
pub fn parse<P: Parser>(program: &'static str) -> Result<P, ExitCode> {
    let matches = command::<P>(program).try_get_matches();
    matches.and_then(|matches| P::from_arg_matches(&matches)).map_err(|err| {
        // Nobody is left to tell if this fails.
        err.print().unwrap_or_default();
        if err.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
    })
}

/// The command of `P` in which the option `--flag` can also be given as `XTFS_<PROGRAM>_<FLAG>`, and
/// `--dir` as `XTFS_DIR`.
pub fn command<P: Parser>(program: &'static str) -> Command {
    let prefix = upper(program.strip_prefix("xtfs-").unwrap_or(program));
    P::command().mut_args(move |arg| {
        let Some(flag) = arg.get_long().map(upper) else { return arg };
        if ["HELP", "VERSION"].contains(&flag.as_str()) {
            return arg;
        }
        let own = match prefix.as_str() {
            "XTFS" => format!("XTFS_{flag}"),
            prefix => format!("XTFS_{prefix}_{flag}"),
        };
        // One name is all that clap takes: the program's own if it is set.
        let name = match flag.as_str() {
            "DIR" if std::env::var_os(&own).is_none() => "XTFS_DIR".to_owned(),
            _ => own,
        };
        // A handful of names, once per process.
        arg.env(OsStr::from(&*name.leak()))
    })
}

fn upper(text: &str) -> String {
    text.to_ascii_uppercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Options {
        #[arg(long)]
        _dir: Option<String>,
        #[arg(long)]
        _log_json: bool,
    }

    #[test]
    fn every_option_has_a_variable() {
        let command = command::<Options>("xtfs-osd");
        let names: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_env()).collect();
        assert_eq!(names, ["XTFS_DIR", "XTFS_OSD_LOG_JSON"]);
    }
}
