//! `xtfs-linear record FOLDER OUTPUT MOUNT FIRST_THREAD THREADS CALLS_EACH SEED MIX`: what threads of one mount do, see
//! `linear`.
//! `xtfs-linear check HISTORY`: judges what was recorded.
//!
//! Prints an empty line for each call.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use xtfs_testkit::linear::{History, Kernel, Mix, Plan, record, verdict};

/// For one search.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["record", folder, output, mount, first_thread, threads, calls_each, seed, mix] => {
            let plan = Plan {
                mount: number(mount),
                first_thread: number(first_thread),
                threads: number(threads),
                calls_each: number(calls_each),
                seed: number(seed),
                mix: Mix::named(mix).expect("all or names"),
            };
            let history = record(&Kernel::new(folder.into()), &plan, done);
            let output = File::create(output).expect("make a file");
            history.write(BufWriter::new(output)).expect("write");
            ExitCode::SUCCESS
        }
        ["check", path] => match verdict(&read(Path::new(path)), LIMIT) {
            Ok(()) => ExitCode::SUCCESS,
            Err(rejection) => {
                eprintln!("{rejection}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!(
                "usage: xtfs-linear record FOLDER OUTPUT MOUNT FIRST_THREAD THREADS CALLS_EACH SEED all|names"
            );
            eprintln!("       xtfs-linear check HISTORY");
            ExitCode::from(64)
        }
    }
}

fn read(path: &Path) -> History {
    let file = File::open(path).expect("open a history");
    History::read(BufReader::new(file)).expect("a history")
}

fn done() {
    let mut out = std::io::stdout().lock();
    out.write_all(b"\n").and_then(|()| out.flush()).expect("a pipe");
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(text: &str) -> T {
    text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
}
