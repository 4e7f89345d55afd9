//! DIR, MRC and OSDs as processes of their own, in a temporary folder.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::mount::Mount;
use crate::programs::{Ran, program, run};
use crate::{eventually, eventually_within};

/// Dropping it ends the processes and removes the folder.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder, so that the processes end first.
    pub dir: Daemon,
    pub mrc: Daemon,
    pub osds: Vec<Daemon>,
    base: PathBuf,
    _folder: Option<TempDir>,
}

/// How an OSD differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct OsdOptions {
    /// Data directories. None: one in the cluster's folder.
    pub data: Vec<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Cluster {
    /// Returns when the DIR has heard of everyone.
    pub fn start(osds: usize) -> Self {
        let folder = TempDir::with_prefix("xtfs-test-").expect("a temporary folder");
        let mut cluster = Self::start_in(folder.path(), osds);
        cluster._folder = Some(folder);
        cluster
    }

    /// In a folder of the caller's, which stays.
    pub fn start_in(base: &Path, osds: usize) -> Self {
        let path = |name: &str| base.join(name).display().to_string();
        let log = |name: &str| base.join(format!("{name}.log"));
        let dir = Daemon::start("xtfs-dir", vec!["--data".into(), path("dir")], log("dir"));
        let address = dir.address().to_string();
        let args = vec!["--dir".into(), address, "--data".into(), path("mrc")];
        let mrc = Daemon::start("xtfs-mrc", args, log("mrc"));
        let mut cluster =
            Cluster { dir, mrc, osds: Vec::new(), base: base.to_owned(), _folder: None };
        for _ in 0..osds {
            cluster.spawn_osd(OsdOptions::default());
        }
        cluster.wait_for_targets(osds);
        cluster
    }

    /// One more OSD. Returns its index when the DIR has heard of it.
    pub fn add_osd(&mut self, options: OsdOptions) -> usize {
        let targets = options.data.len().max(1);
        let before = self.alive_targets();
        let index = self.spawn_osd(options);
        self.wait_for_targets(before + targets);
        index
    }

    fn spawn_osd(&mut self, options: OsdOptions) -> usize {
        let index = self.osds.len();
        let data = if options.data.is_empty() { vec![self.osd_data(index)] } else { options.data };
        let mut args = vec!["--dir".to_owned(), self.dir_address()];
        for path in data {
            args.extend(["--data".to_owned(), path.display().to_string()]);
        }
        args.extend(options.args);
        let log = self.base.join(format!("osd{index}.log"));
        self.osds.push(Daemon::start("xtfs-osd", args, log));
        index
    }

    pub fn wait_for_targets(&self, count: usize) {
        eventually(&format!("{count} targets are alive"), || self.alive_targets() == count);
    }

    fn alive_targets(&self) -> usize {
        let ran = self.xtfs(&["osd", "ls", "--json"]);
        let Ok(listed) = serde_json::from_str::<serde_json::Value>(&ran.stdout) else { return 0 };
        let osds = listed["osds"].as_array().cloned().unwrap_or_default();
        osds.iter().filter(|osd| osd["alive"] == true).count()
    }

    pub fn dir_address(&self) -> String {
        self.dir.address().to_string()
    }

    /// Folder that everything of this cluster is in.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Data directory that the OSD has if it was not told otherwise.
    pub fn osd_data(&self, index: usize) -> PathBuf {
        self.base.join(format!("osd{index}"))
    }

    /// `xtfs ARGS… --dir ADDRESS`.
    #[track_caller]
    pub fn xtfs(&self, args: &[&str]) -> Ran {
        let address = self.dir_address();
        let mut all = args.to_vec();
        all.extend(["--dir", &address]);
        run(program("xtfs"), &all)
    }

    /// `mkfs.xtfs ADDRESS/VOLUME ARGS…`; the MRC may still be on its way to the DIR.
    #[track_caller]
    pub fn mkfs(&self, volume: &str, args: &[&str]) {
        let spec = self.spec(volume);
        let mut all = vec![spec.as_str(), "--if-not-exists"];
        all.extend(args);
        eventually("the volume is made", || run(program("mkfs-xtfs"), &all).code == 0);
    }

    pub fn spec(&self, volume: &str) -> String {
        format!("{}/{volume}", self.dir_address())
    }

    #[track_caller]
    pub fn mount(&self, volume: &str) -> Mount {
        self.mount_with(volume, &[])
    }

    #[track_caller]
    pub fn mount_with(&self, volume: &str, args: &[&str]) -> Mount {
        Mount::new(&self.spec(volume), args)
    }

    /// Checks that nothing is lost, left over or damaged.
    #[track_caller]
    pub fn assert_clean(&self, volume: &str) {
        let mut last = String::new();
        let clean = || {
            let ran = self.xtfs(&["fsck", volume, "--json", "--timeout", "10m"]);
            last = format!("{}\n{}", ran.stdout, ran.stderr);
            ran.code == 0
        };
        let patience = std::time::Duration::from_secs(120);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually_within(patience, "fsck is clean", clean);
        }));
        assert!(checked.is_ok(), "fsck of {volume}: {last}");
    }
}
