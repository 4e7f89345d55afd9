//! A process with locks, for tests: one that has files open on a mount must not start daemons, which would inherit them.
//!
//! `xtfs-locker FILE` takes orders from its input, one a line, and answers each with a line: `ok`, or an errno:
//! `KIND try|wait shared|exclusive|unlock START LEN`, `KIND test START LEN`, `reopen` (a second descriptor is opened and
//! closed), `write TEXT`. `xtfs-locker FILE KIND COUNT` adds one to the number in the file so many times.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use xtfs_testkit::campaign::counters::add;
use xtfs_testkit::lock::{Kind, Take};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [path] => obey(path),
        [path, kind, count] => count_up(path, kind, count),
        _ => Err(io::Error::other("usage: xtfs-locker FILE [KIND COUNT]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn count_up(path: &str, kind: &str, count: &str) -> io::Result<()> {
    let kind: Kind = kind.parse().map_err(io::Error::other)?;
    let count: u32 = count.parse().map_err(io::Error::other)?;
    let file = open(path)?;
    (0..count).try_for_each(|_| add(&file, kind))
}

fn open(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn obey(path: &str) -> io::Result<()> {
    let file = open(path)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = match carry_out(&file, path, &words) {
            Ok(answer) => answer,
            Err(err) => match err.raw_os_error() {
                Some(errno) => format!("errno {errno}"),
                None => return Err(err),
            },
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn carry_out(file: &File, path: &str, words: &[&str]) -> io::Result<String> {
    let number = |text: &str| text.parse::<i64>().map_err(io::Error::other);
    match words {
        ["reopen"] => drop(open(path)?),
        ["write", text] => {
            std::os::unix::fs::FileExt::write_all_at(file, text.as_bytes(), 0)?;
        }
        [kind, "test", start, len] => {
            let kind: Kind = kind.parse().map_err(io::Error::other)?;
            return Ok(match kind.test(file, (number(start)?, number(len)?))? {
                Some((start, len, pid)) => format!("held {start} {len} {pid}"),
                None => "free".into(),
            });
        }
        [kind, how, take, start, len] => {
            let kind: Kind = kind.parse().map_err(io::Error::other)?;
            let take = match *take {
                "shared" => Take::Shared,
                "exclusive" => Take::Exclusive,
                _ => Take::Unlock,
            };
            kind.set(file, take, (number(start)?, number(len)?), *how == "wait")?;
        }
        _ => return Err(io::Error::other(format!("order {words:?}"))),
    }
    Ok("ok".into())
}
