//! `xtfs-exerciser SEED OPERATIONS FOLDER…`: compares a file system with a model, see `exerciser`. Prints an empty
//! line for each operation, and what came out.

use std::process::ExitCode;

use xtfs_testkit::exerciser::{Plan, run};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [seed, operations, folders @ ..] = args.as_slice() else {
        eprintln!("usage: xtfs-exerciser SEED OPERATIONS FOLDER...");
        return ExitCode::from(64);
    };
    let plan = Plan {
        folders: folders.iter().map(Into::into).collect(),
        seed: seed.parse().expect("the seed is a number"),
        operations: operations.parse().expect("operations are a number"),
        fault: None,
    };
    let done = || println!();
    match run(&plan, done) {
        Ok(()) => {
            println!("seed {seed}: {operations} operations, no difference");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            eprintln!("seed {seed}:\n{difference}");
            ExitCode::FAILURE
        }
    }
}
