//! A suite of somebody else in whose middle services are killed: to it that is a pause.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::disturbance::Disturbance;
use crate::{Cluster, Ran, eventually_within};

/// No suite takes longer to come to its middle.
const SUITE_MAX: Duration = Duration::from_secs(12 * 3600);

/// A suite under way. Its errors are printed with all the rest.
struct Suite {
    child: Child,
    output: NamedTempFile,
}

impl Suite {
    fn start(mut command: Command) -> Self {
        let output = NamedTempFile::with_prefix("xtfs-suite-").expect("a temporary file");
        let shared = || output.as_file().try_clone().expect("a file of ours");
        command.stdin(Stdio::null()).stdout(shared()).stderr(shared());
        let child = command.spawn().unwrap_or_else(|err| panic!("start {command:?}: {err}"));
        Suite { child, output }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours to wait for")
    }

    fn end(mut self) -> Ran {
        let ended = self.child.wait().expect("it is ours to wait for");
        let mut printed = Vec::new();
        // It was written through other descriptors, which share the position.
        let read = self.output.rewind().and_then(|()| self.output.read_to_end(&mut printed));
        read.expect("a file of ours");
        let stdout = String::from_utf8_lossy(&printed).into_owned();
        Ran { code: ended.code().unwrap_or(-1), stdout, stderr: String::new() }
    }
}

/// Runs it to its end.
pub(super) fn run_alone(command: Command) -> Ran {
    Suite::start(command).end()
}

/// The same, disturbed in its middle, in whatever way. Panics if it ended well before that.
#[track_caller]
pub(super) fn run_disturbed(
    command: Command,
    cluster: &mut Cluster,
    disturbance: Disturbance,
    half_done: impl FnMut(&Path) -> bool,
) -> Ran {
    let what = format!("{command:?}");
    let (ran, befell) = try_disturbed(command, cluster, disturbance, half_done);
    // One that failed says itself what is wrong.
    assert!(ran.code != 0 || befell == disturbance, "it ended before anybody was killed: {what}");
    ran
}

/// If it is to be disturbed, an OSD and then the MRC are killed and started again at once when `half_done` says so; it
/// is shown the file with what was printed so far. Also returns what befell the suite: nothing if it ended before.
pub(super) fn try_disturbed(
    command: Command,
    cluster: &mut Cluster,
    disturbance: Disturbance,
    mut half_done: impl FnMut(&Path) -> bool,
) -> (Ran, Disturbance) {
    let mut suite = Suite::start(command);
    let mut befell = Disturbance::None;
    if disturbance != Disturbance::None {
        eventually_within(SUITE_MAX, "the suite comes to its middle", || {
            suite.ended().is_some() || half_done(suite.output.path())
        });
        if suite.ended().is_none() {
            for victim in [cluster.osds.last_mut().expect("an OSD"), &mut cluster.mrc] {
                victim.kill9();
                victim.restart();
            }
            befell = disturbance;
        }
    }
    (suite.end(), befell)
}

/// How many lines were printed so far.
pub(super) fn lines(output: &Path) -> usize {
    let printed = std::fs::read(output).expect("a file of ours");
    printed.iter().filter(|byte| **byte == b'\n').count()
}
