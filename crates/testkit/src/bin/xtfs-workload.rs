//! `xtfs-workload FOLDER SEED`: one worker of the kill campaign, see `campaign::workload`.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use xtfs_testkit::campaign::workload::Worker;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [folder, seed] = args.as_slice() else {
        eprintln!("usage: xtfs-workload FOLDER SEED");
        return ExitCode::from(64);
    };
    let seed = seed.parse().expect("the seed is a number");
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
        STOP.store(true, Ordering::Relaxed);
    });
    let worker = Worker { folder: folder.into(), seed, stop: &STOP };
    let acknowledged = || {
        let mut out = std::io::stdout().lock();
        out.write_all(b"\n").and_then(|()| out.flush()).expect("a pipe");
    };
    match worker.run(acknowledged) {
        Ok(done) => {
            println!("{}", serde_json::to_string(&done).expect("names and numbers"));
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}
