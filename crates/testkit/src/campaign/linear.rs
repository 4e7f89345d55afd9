//! Histories of three mounts of one volume, and whether there is an order for each. See `linear`.

use std::fmt;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::counted::Counted;
use crate::linear::{History, Mix, Rejection, make_folders, now, verdict};
use crate::{Cluster, Mount, eventually_within, program};

const MOUNTS: usize = 3;

/// For one search. What takes longer counts as rejected.
const LIMIT: Duration = Duration::from_secs(60);

/// For a history: others wait for the session of a client that was killed, and for services that start.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Plan {
    pub histories: u32,
    pub seed: u64,
    pub calls: usize,
    /// Of each mount.
    pub threads: u32,
    pub mix: Mix,
    /// About so many calls between two kills, of the MRC, an OSD or a client.
    pub kill: Option<u64>,
    /// Of `mount.xtfs`.
    pub options: Vec<String>,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Figures {
    pub accepted: u32,
    pub rejected: Vec<(u64, Rejection)>,
    calls: usize,
    /// Of the MRC, of an OSD, of a client.
    pub kills: [u32; 3],
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Figures { accepted, calls, .. }, rejected) = (self, self.rejected.len());
        let [mrc, osd, client] = self.kills;
        write!(f, "{accepted} histories accepted, {rejected} rejected, {calls} calls; ")?;
        write!(f, "killed: MRC {mrc}, OSDs {osd}, clients {client} times")
    }
}

/// Histories one after the other, each with the seed after that of the last. Those that are rejected are printed, and
/// kept in the temporary folder.
pub fn run(plan: &Plan) -> Figures {
    eprintln!("{plan:?}");
    let mut world = World::new(plan);
    let mut figures = Figures::default();
    for seed in plan.seed..plan.seed + u64::from(plan.histories) {
        let history = world.history(&Plan { seed, ..plan.clone() }, &mut figures.kills);
        figures.calls += history.len();
        match verdict(&history, LIMIT) {
            Ok(()) => figures.accepted += 1,
            Err(rejection) => {
                let path = std::env::temp_dir().join(format!("xtfs-linear-{seed}.history"));
                history.write(File::create(&path).expect("make a file")).expect("write");
                println!("seed {seed}, {}: {rejection}", path.display());
                figures.rejected.push((seed, rejection));
            }
        }
        if seed % 50 == 49 {
            eprintln!("seed {seed}: {figures}");
        }
    }
    world.end();
    figures
}

struct World {
    cluster: Cluster,
    mounts: Vec<Mount>,
    recorded: TempDir,
}

/// One of the mounts, with the process that makes calls on it.
struct Recorder {
    running: Counted,
    done: Arc<AtomicU64>,
    output: PathBuf,
    killed: Option<u64>,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let cluster = Cluster::start(2);
        cluster.mkfs("v", &["-s", "4k", "-w", "2"]);
        let mounts = (0..MOUNTS).map(|_| mount(&cluster, plan)).collect();
        let recorded = TempDir::with_prefix("xtfs-linear-").expect("a temporary folder");
        World { cluster, mounts, recorded }
    }

    fn history(&mut self, plan: &Plan, kills: &mut [u32; 3]) -> History {
        let seed = plan.seed;
        let mut random = StdRng::seed_from_u64(seed);
        let folder = format!("history{seed}");
        make_folders(&self.mounts[0].join(&folder)).expect("make folders");
        let each = plan.calls.div_ceil(MOUNTS * plan.threads as usize);
        let mut recorders: Vec<_> =
            (0..MOUNTS).map(|at| self.start(plan, &folder, (at, at), each)).collect();
        let mut ended = Vec::new();
        let mut client_lives = true;
        let mut target = 0;
        while let Some(every) = plan.kill {
            target += random.random_range(1..=2 * every);
            if !work(&recorders, target, seed) {
                break;
            }
            match random.random_range(0..8) {
                0..5 => {
                    kills[0] += 1;
                    self.cluster.mrc.kill9();
                    self.cluster.mrc.restart();
                }
                5..7 => {
                    kills[1] += 1;
                    let osd = random.random_range(0..self.cluster.osds.len());
                    self.cluster.osds[osd].kill9();
                    self.cluster.osds[osd].restart();
                }
                // Others may have to wait 22 s for its session: once is enough.
                _ if client_lives => {
                    client_lives = false;
                    kills[2] += 1;
                    let at = random.random_range(0..MOUNTS);
                    recorders[at].killed = Some(now());
                    self.mounts.remove(at).kill9();
                    self.mounts.insert(at, mount(&self.cluster, plan));
                    let left = each.saturating_sub(recorders[at].calls() / plan.threads as usize);
                    let next = self.start(plan, &folder, (at, MOUNTS), left);
                    ended.push(std::mem::replace(&mut recorders[at], next));
                }
                _ => {}
            }
        }
        let mut history = History::default();
        ended.into_iter().chain(recorders).for_each(|one| history.extend(one.end()));
        history
    }

    /// As so manieth process of the history.
    fn start(
        &self,
        plan: &Plan,
        folder: &str,
        (at, process): (usize, usize),
        calls: usize,
    ) -> Recorder {
        let output = self.recorded.path().join(process.to_string());
        let mut command = Command::new(program("xtfs-linear"));
        command.arg("record").arg(self.mounts[at].join(folder)).arg(&output);
        let first_thread = plan.threads as usize * process + 1;
        let numbers = [at, first_thread, plan.threads as usize, calls];
        command.args(numbers.map(|number| number.to_string()));
        command.args([plan.seed.to_string().as_str(), plan.mix.name()]);
        let done = Arc::default();
        Recorder { running: Counted::start(command, &done), done, output, killed: None }
    }

    fn end(self) {
        self.mounts.into_iter().for_each(Mount::unmount);
        self.cluster.assert_clean("v");
    }
}

impl Recorder {
    fn calls(&self) -> usize {
        usize::try_from(self.done.load(Ordering::Relaxed)).expect("a small number")
    }

    fn end(self) -> History {
        self.running.end();
        let file = File::open(&self.output).expect("a file of ours");
        let mut history = History::read(BufReader::new(file)).expect("a history");
        self.killed.into_iter().for_each(|at| history.killed(at));
        fs::remove_file(&self.output).expect("a file of ours");
        history
    }
}

/// Waits for so many calls. `false`: there were no more.
fn work(recorders: &[Recorder], target: u64, seed: u64) -> bool {
    let done = || recorders.iter().map(|one| one.calls() as u64).sum::<u64>() >= target;
    let over = || recorders.iter().all(|one| one.running.has_ended());
    eventually_within(PATIENCE, &format!("seed {seed}: the calls go on"), || done() || over());
    !over()
}

fn mount(cluster: &Cluster, plan: &Plan) -> Mount {
    let options: Vec<_> = plan.options.iter().flat_map(|option| ["-o", option.as_str()]).collect();
    cluster.mount_with("v", &options)
}
