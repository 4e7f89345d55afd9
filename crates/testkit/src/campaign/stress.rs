//! Debian's stress-ng, the stressors of its class `filesystem`, on xtfs and on an ext4 beside it.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::disturbance::Disturbance;
use super::disturbed::{run_alone, try_disturbed};
use super::local::Ext4;
use super::suites::Striped;
use crate::{Ran, run};

#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of stressors. None: the whole class.
    pub only: Vec<String>,
    /// How long each runs, on each file system.
    pub seconds: u32,
    pub seed: u64,
    /// Under each stressor on xtfs.
    pub disturbance: Disturbance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The stressor found that it cannot run here.
    Skipped(String),
    Failed(String),
}

/// What came of one stressor.
#[derive(Clone, Debug)]
pub struct Row {
    pub stressor: String,
    pub xtfs: Outcome,
    pub ext4: Outcome,
}

/// So many processes of each stressor at once.
const INSTANCES: u32 = 2;

/// Beyond its time a stressor removes what it made, and waits for services that were killed.
const CLEANING_SECONDS: u32 = 300;

/// The kernel does not ask a FUSE file system: FS_IOC_FIEMAP is EOPNOTSUPP on each.
const NOT_OF_FUSE: [&str; 1] = ["fiemap"];

/// Some stressors go through all mounts of the machine, as `fanotify` does, which then asks for leave to open anything
/// there. So each has a mount namespace of its own, without FUSE mounts but the one in `$1`. What the daemon of a mount
/// does is not in it. `umount -c` does not look at mount points, the daemon of which may be gone; one whose folder is
/// removed meanwhile is no mount point any more.
const ALONE: &str = r#"
keep=$1
shift
while read -r target type; do
    case $type in fuse.* | fuseblk) [ "$target" = "$keep" ] || umount -l -c "$target" || true ;; esac
done < <(findmnt --raw --noheadings --output TARGET,FSTYPE)
exec "$@"
"#;

impl Row {
    /// A stressor that runs on ext4 is to run on xtfs, too, if FUSE lets it.
    pub fn is_fault(&self) -> bool {
        match (&self.xtfs, &self.ext4) {
            (Outcome::Failed(_), Outcome::Failed(_)) | (Outcome::Passed, _) => false,
            (Outcome::Failed(_), _) => true,
            (Outcome::Skipped(_), other) => {
                *other == Outcome::Passed && !NOT_OF_FUSE.contains(&self.stressor.as_str())
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Skipped(why) => write!(f, "skipped ({why})"),
            Outcome::Failed(why) => write!(f, "FAILED ({why})"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: xtfs {}, ext4 {}", self.stressor, self.xtfs, self.ext4)
    }
}

/// Panics at the end if a stressor failed on xtfs alone.
pub fn run_plan(plan: &Plan) -> Vec<Row> {
    println!("{plan:?}");
    let ext4 = Ext4::new();
    let mut striped = Striped::start();
    let stressors = if plan.only.is_empty() { filesystem_class() } else { plan.only.clone() };
    let mut rows = Vec::new();
    for stressor in stressors {
        let here = plan.command(&stressor, striped.mount.path());
        let beside = plan.command(&stressor, &ext4.path());
        let half = Duration::from_secs(plan.seconds.into()) / 2;
        let start = Instant::now();
        let ((on_xtfs, befell), on_ext4) = thread::scope(|scope| {
            // At once: nothing is measured.
            let on_ext4 = scope.spawn(|| run_alone(beside));
            let on_xtfs = try_disturbed(here, &mut striped.cluster, plan.disturbance, |_| {
                start.elapsed() >= half
            });
            (on_xtfs, on_ext4.join().expect("no panic"))
        });
        let xtfs = match outcome(&on_xtfs) {
            Outcome::Passed if befell != plan.disturbance => {
                Outcome::Failed("ended before anybody was killed".to_owned())
            }
            outcome => outcome,
        };
        let row = Row { stressor, xtfs, ext4: outcome(&on_ext4) };
        println!("{row}");
        rows.push(row);
    }
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
    let faults: Vec<_> = rows.iter().filter(|row| row.is_fault()).map(Row::to_string).collect();
    assert!(faults.is_empty(), "{plan:?}: on xtfs alone:\n{}", faults.join("\n"));
    rows
}

impl Plan {
    fn command(&self, stressor: &str, folder: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-euo", "pipefail", "-c", ALONE, "alone"]).arg(folder);
        let limit = self.seconds + CLEANING_SECONDS;
        command.args(["timeout", "--kill-after", "10", &limit.to_string()]);
        command.args(["stress-ng", "--verify", "--seed", &self.seed.to_string(), "--temp-path"]);
        command.arg(folder).args([format!("--{stressor}"), INSTANCES.to_string()]);
        command.args(["--timeout", &self.seconds.to_string()]);
        command
    }
}

/// The names that stress-ng gives on `class 'filesystem' stressors: NAME…`.
fn filesystem_class() -> Vec<String> {
    let ran = run("stress-ng", &["--class", "filesystem?"]);
    let listed = format!("{}{}", ran.stdout, ran.stderr);
    let names = listed.lines().find_map(|line| line.strip_prefix("class 'filesystem' stressors:"));
    let names = names.unwrap_or_else(|| panic!("no list of stressors: {listed}"));
    names.split_whitespace().map(str::to_owned).collect()
}

/// By the exit codes of stress-ng(1) and what it printed.
fn outcome(ran: &Ran) -> Outcome {
    let saying = |words: &[&str]| {
        let mut lines = ran.stdout.lines();
        let line = lines.find(|line| words.iter().any(|word| line.contains(word)));
        line.map(|line| line.split_once("] ").map_or(line, |(_, said)| said).to_owned())
    };
    let failure = saying(&["stress-ng: fail:"]);
    let skipping = saying(&["skipping stress"]);
    match ran.code {
        // Some stressors succeed by not running.
        0 if failure.is_none() => skipping.map_or(Outcome::Passed, Outcome::Skipped),
        3 | 4 if failure.is_none() => {
            Outcome::Skipped(skipping.or_else(|| saying(&["aborted"])).unwrap_or_default())
        }
        // Its way to say that the stressor must be asked for with --pathological.
        1 if ran.stdout.contains("No stress workers invoked") => {
            Outcome::Skipped(saying(&["disabled"]).unwrap_or_default())
        }
        124 | 137 => Outcome::Failed("does not end".to_owned()),
        code => {
            let said = failure.or_else(|| saying(&["error:"]));
            Outcome::Failed(format!("exit code {code}: {}", said.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, stdout: &str, expected: &str) {
        let ran = Ran { code, stdout: stdout.to_owned(), stderr: String::new() };
        assert_eq!(outcome(&ran).to_string(), expected);
    }

    #[test]
    fn an_exit_code_is_what_the_manual_says() {
        check(0, "stress-ng: info:  [7] successful run completed in 1.01s\n", "passed");
        check(0, "stress-ng: fail:  [7] dir: gone\n", "FAILED (exit code 0: dir: gone)");
        check(2, "stress-ng: fail:  [7] dir: gone\n", "FAILED (exit code 2: dir: gone)");
        let skipping = "stress-ng: info:  [7] x: no, skipping stress test\n";
        check(3, skipping, "skipped (x: no, skipping stress test)");
        check(0, skipping, "skipped (x: no, skipping stress test)");
        check(3, "stress-ng: fail:  [7] dir: gone\n", "FAILED (exit code 3: dir: gone)");
        let pathological =
            "stress-ng: info:  [7] disabled 'x'\nstress-ng: error: [7] No stress workers invoked\n";
        check(1, pathological, "skipped (disabled 'x')");
        check(1, "stress-ng: error: [7] no such option\n", "FAILED (exit code 1: no such option)");
        check(124, "", "FAILED (does not end)");
    }

    #[test]
    fn what_runs_on_ext4_is_to_run_on_xtfs() {
        let (passed, skipped) = (Outcome::Passed, Outcome::Skipped(String::new()));
        let failed = Outcome::Failed(String::new());
        for (xtfs, ext4, is_fault) in [
            (&passed, &passed, false),
            (&passed, &failed, false),
            (&skipped, &skipped, false),
            (&skipped, &failed, false),
            (&skipped, &passed, true),
            (&failed, &failed, false),
            (&failed, &skipped, true),
            (&failed, &passed, true),
        ] {
            let row = Row { stressor: "dir".to_owned(), xtfs: xtfs.clone(), ext4: ext4.clone() };
            assert_eq!(row.is_fault(), is_fault, "{row}");
        }
        let fiemap = Row { stressor: "fiemap".to_owned(), xtfs: skipped, ext4: passed };
        assert!(!fiemap.is_fault());
    }
}
