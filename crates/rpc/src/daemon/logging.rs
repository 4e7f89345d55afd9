//! Where log lines go, and how they look.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The options on logs that every program has.
#[derive(Clone, Debug, clap::Args)]
pub struct LogOptions {
    /// What is logged: error, warn, info, debug, or a filter as xtfs_osd=debug,info
    #[arg(long, value_name = "FILTER", default_value = "info,openraft=warn")]
    pub log: String,
    /// Log one JSON object per line
    #[arg(long)]
    pub log_json: bool,
}

/// Logs go to stderr from now on: with colours on a terminal, without time under systemd, whose
/// journal has its own.
pub fn start_logging(options: &LogOptions) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&options.log).map_err(|err| {
        Failure::new(format!("--log {:?}: {err}", options.log), "use error, warn, info or debug")
    })?;
    let terminal = std::io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && !terminal;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let started = match (options.log_json, journal) {
        (true, _) => log.json().try_init(),
        (false, true) => log.without_time().try_init(),
        (false, false) => log.try_init(),
    };
    started.map_err(|err| Failure::new(format!("cannot start logging: {err}"), ""))
}
