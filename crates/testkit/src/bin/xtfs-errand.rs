//! `xtfs-errand NAME FOLDER COUNT`: what programs do with a folder, see `errand`.

use std::path::Path;
use std::process::ExitCode;

use xtfs_testkit::errand::{collect, deliver, replace, watch};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [name, folder, count] = args.as_slice() else {
        eprintln!("usage: xtfs-errand NAME FOLDER COUNT");
        return ExitCode::from(64);
    };
    let count = count.parse().expect("the count is a number");
    let errand = match name.as_str() {
        "deliver" => deliver,
        "collect" => collect,
        "replace" => replace,
        "watch" => watch,
        other => panic!("{other} is no errand"),
    };
    match errand(Path::new(folder), count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{name} in {folder}: {err}");
            ExitCode::FAILURE
        }
    }
}
