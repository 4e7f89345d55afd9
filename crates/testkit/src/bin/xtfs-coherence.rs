//! `xtfs-coherence rounds SEED ROUNDS BESIDE FOLDER…`: looks for what is stale, see `coherence`.
//! `xtfs-coherence crowd SEED FOLDER`: one of many at work in one directory, until its input ends.
//!
//! Prints an empty line for each round or operation.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use xtfs_testkit::coherence::{Member, Plan, run};

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["rounds", seed, rounds, beside, folders @ ..] if !folders.is_empty() => {
            let plan = Plan {
                folders: folders.iter().map(Into::into).collect(),
                beside: beside.into(),
                seed: number(seed),
                rounds: number(rounds),
                stale: None,
            };
            run(&plan, done).map(|()| println!("seed {seed}: {rounds} rounds, nothing stale"))
        }
        ["crowd", seed, folder] => {
            std::thread::spawn(|| {
                std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
                STOP.store(true, Ordering::Relaxed);
            });
            Member { folder: folder.into(), seed: number(seed), stop: &STOP }.run(done)
        }
        _ => {
            eprintln!("usage: xtfs-coherence rounds SEED ROUNDS BESIDE FOLDER...");
            eprintln!("       xtfs-coherence crowd SEED FOLDER");
            return ExitCode::from(64);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn done() {
    let mut out = std::io::stdout().lock();
    out.write_all(b"\n").and_then(|()| out.flush()).expect("a pipe");
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
}
