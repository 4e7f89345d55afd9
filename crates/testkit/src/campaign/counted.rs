//! A process of ours that prints an empty line for each operation that it has done, so that services are killed while
//! it is under way.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

#[derive(Debug)]
pub struct Counted {
    child: Child,
    output: JoinHandle<io::Result<String>>,
}

impl Counted {
    /// `operations` counts what was done.
    pub fn start(mut command: Command, operations: &Arc<AtomicU64>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("our own program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let operations = operations.clone();
        let output = std::thread::spawn(move || {
            let mut last = String::new();
            for line in lines {
                last = line?;
                if last.is_empty() {
                    operations.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(last)
        });
        Counted { child, output }
    }

    pub fn has_ended(&self) -> bool {
        self.output.is_finished()
    }

    /// Its last line. One that runs until its input ends is told to stop.
    #[track_caller]
    pub fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let last = self.output.join().expect("no panic").expect("a pipe");
        let code = self.child.wait().expect("it is ours to wait for");
        assert!(code.success(), "it failed: {code}; see above");
        last
    }
}
