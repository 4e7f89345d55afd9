//! A process with locks, for tests: one that has files open on a mount must not start daemons, which would inherit them.
//!
//! `xtfs-locker FILE` takes orders from its input, one a line, and answers each with a line: `ok`, or an errno:
//! `KIND try|wait shared|exclusive|unlock START LEN`, `KIND test START LEN`, `reopen` (a second descriptor is opened and
//! closed), `open` and `close` (the same in two steps), `write TEXT`, `read`, `allocate START LEN`, `copy FROM TO`,
//! `use FILE` (orders are about that one from now on; it stays open), `handle` (SIGUSR1 ends a wait), `both KIND START LEN`
//! (this and another thread wait; answers with `first` or `second` before each answer), `background KIND START LEN`
//! (another thread waits; answers with `background` before it, at its end).
//! `xtfs-locker FILE KIND COUNT` adds one to the number in the file so many times.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use xtfs_testkit::campaign::counters::add;
use xtfs_testkit::lock::{Kind, Take, handle};

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
    let mut files = vec![(path.to_owned(), open(path)?)];
    let mut second = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["use", path] = words.as_slice() {
            match files.iter().position(|(known, _)| known == path) {
                Some(at) => {
                    let last = files.len() - 1;
                    files.swap(at, last);
                }
                None => files.push(((*path).to_owned(), open(path)?)),
            }
        }
        let (path, file) = files.last().expect("there is always one");
        match words.as_slice() {
            ["both", kind, start, len] => {
                both(file, kind, (start, len))?;
                continue;
            }
            ["background", kind, start, len] => {
                background(file.try_clone()?, kind, (start, len))?;
                continue;
            }
            ["open"] => second = Some(open(path)?),
            ["close"] => drop(second.take()),
            _ => {}
        }
        writeln!(io::stdout(), "{}", answer(carry_out(file, path, &words))?)?;
    }
    Ok(())
}

fn answer(done: io::Result<String>) -> io::Result<String> {
    match done {
        Ok(answer) => Ok(answer),
        Err(err) => match err.raw_os_error() {
            Some(errno) => Ok(format!("errno {errno}")),
            None => Err(err),
        },
    }
}

/// Two threads that wait for one lock.
fn both(file: &File, kind: &str, (start, len): (&str, &str)) -> io::Result<()> {
    let kind: Kind = kind.parse().map_err(io::Error::other)?;
    let number = |text: &str| text.parse::<i64>().map_err(io::Error::other);
    let range = (number(start)?, number(len)?);
    let wait = |name: &str| {
        let done = kind.set(file, Take::Exclusive, range, true).map(|()| "ok".to_owned());
        writeln!(io::stdout(), "{name} {}", answer(done)?)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| wait("second"));
        let first = wait("first");
        let second = second.join().map_err(|_| io::Error::other("the second thread panicked"))?;
        first.and(second)
    })
}

/// Another thread waits for a lock. The clone of the descriptor lives as long as the process: no close gives it back.
fn background(file: File, kind: &str, (start, len): (&str, &str)) -> io::Result<()> {
    let kind: Kind = kind.parse().map_err(io::Error::other)?;
    let number = |text: &str| text.parse::<i64>().map_err(io::Error::other);
    let range = (number(start)?, number(len)?);
    std::thread::spawn(move || {
        let done = kind.set(&file, Take::Exclusive, range, true).map(|()| "ok".to_owned());
        std::mem::forget(file);
        if let Ok(answer) = answer(done) {
            // The one who would read it has gone.
            let _ = writeln!(io::stdout(), "background {answer}");
        }
    });
    Ok(())
}

fn carry_out(file: &File, path: &str, words: &[&str]) -> io::Result<String> {
    let number = |text: &str| text.parse::<i64>().map_err(io::Error::other);
    match words {
        ["reopen"] => drop(open(path)?),
        // Opened to read alone.
        ["glance"] => drop(File::open(path)?),
        ["use", _] | ["open"] | ["close"] => {}
        ["handle"] => handle(libc::SIGUSR1)?,
        ["read"] => {
            let mut byte = [0];
            let read = std::os::unix::fs::FileExt::read_at(file, &mut byte, 0)?;
            return Ok(String::from_utf8_lossy(&byte[..read]).into_owned());
        }
        ["write", text] => {
            std::os::unix::fs::FileExt::write_all_at(file, text.as_bytes(), 0)?;
        }
        ["allocate", start, len] => {
            let range = (number(start)?, number(len)?);
            let (start, len) = (range.0.unsigned_abs(), range.1.unsigned_abs());
            rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), start, len)?;
        }
        ["copy", from, to] => {
            let mut from = number(from)?.unsigned_abs();
            let mut to = number(to)?.unsigned_abs();
            rustix::fs::copy_file_range(file, Some(&mut from), file, Some(&mut to), 1)?;
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
