//! `xtfs-exerciser SEED OPERATIONS FOLDER…`: compares a file system with a model, see `exerciser`.
//! `xtfs-exerciser turns KIND SEED COUNT FOLDER`: takes turns with others of its kind on one file, under locks.
//!
//! Prints an empty line for each operation or turn, and what came out; says how far it is now and then.

use std::cell::Cell;
use std::process::ExitCode;

use xtfs_testkit::exerciser::{Plan, Turns, run, take_turns};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    let (seed, done) = match words.as_slice() {
        ["turns", kind, seed, count, folder] => {
            let plan = Turns {
                folder: folder.into(),
                seed: number(seed),
                count: number(count),
                kind: kind.parse().expect("a kind of lock"),
                fault: None,
            };
            let done = take_turns(&plan, progress(plan.seed));
            (plan.seed, done.map(|own| format!("{own} of {count} turns, no difference")))
        }
        [seed, operations, folders @ ..] if !folders.is_empty() => {
            let plan = Plan {
                folders: folders.iter().map(Into::into).collect(),
                seed: number(seed),
                operations: number(operations),
                fault: None,
            };
            let done = run(&plan, progress(plan.seed));
            (plan.seed, done.map(|()| format!("{operations} operations, no difference")))
        }
        _ => {
            eprintln!("usage: xtfs-exerciser [turns KIND] SEED COUNT FOLDER...");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(done) => {
            println!("seed {seed}: {done}");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            eprintln!("seed {seed}:\n{difference}");
            ExitCode::FAILURE
        }
    }
}

fn progress(seed: u64) -> impl Fn() {
    let done = Cell::new(0u64);
    move || {
        println!();
        done.update(|done| done + 1);
        if done.get().is_multiple_of(10_000) {
            eprintln!("seed {seed}: {} done", done.get());
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
}
