//! The services that are loaded, volumes on them, and sessions there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtfs_client::{Client, MountSpec, Options, Volume};
use xtfs_rpc::DirAddresses;
use xtfs_testkit::{Cluster, eventually, program, run};

/// Whether clients keep what they hear. Of a volume where owners may give files away they keep nothing, so that each
/// look at it is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Kept,
    NotKept,
}

#[derive(Debug)]
pub(crate) struct Grounds {
    dirs: String,
    own: Option<Cluster>,
    mrc_pid: Option<u32>,
    /// Makes the names of volumes new.
    run: u32,
}

impl Grounds {
    /// A DIR, an MRC and one OSD. In `folder` they leave their data.
    pub(crate) fn start(folder: Option<&Path>) -> Self {
        let own = match folder {
            Some(folder) => Cluster::start_in(folder, 1),
            None => Cluster::start(1),
        };
        let run = std::process::id();
        Grounds { dirs: own.dir_address(), own: Some(own), mrc_pid: None, run }
    }

    pub(crate) fn running(dirs: DirAddresses, mrc_pid: Option<u32>) -> Self {
        Grounds { dirs: dirs.to_string(), own: None, mrc_pid, run: std::process::id() }
    }

    /// The MRC's process, if it is known.
    pub(crate) fn mrc_pid(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.mrc.pid()).or(self.mrc_pid)
    }

    /// Where the services of our own have their data.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.base().to_owned())
    }

    /// Kills our MRC and starts it again; returns when it listens.
    pub(crate) fn restart_mrc(&mut self) -> Result<()> {
        let Some(own) = &mut self.own else { bail!("an MRC of somebody else is not restarted") };
        own.mrc.kill9();
        own.mrc.restart();
        Ok(())
    }

    /// Makes a volume and opens so many sessions there.
    pub(crate) async fn sessions(
        &self,
        volume: &str,
        answers: Answers,
        count: usize,
    ) -> Result<Vec<Arc<Volume>>> {
        let spec = format!("{}/{volume}-{}", self.dirs, self.run);
        let setting = format!("chown_non_root={}", answers == Answers::NotKept);
        let args = [spec.as_str(), "--if-not-exists", "-o", &setting];
        // The MRC may still be on its way to the DIR.
        eventually("the volume is made", || run(program("mkfs-xtfs"), &args).code == 0);
        let spec: MountSpec = spec.parse()?;
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(session(&spec, Options::default().timeo).await?);
        }
        Ok(sessions)
    }

    /// One more session at a volume that is there, whose requests end soon.
    pub(crate) async fn hasty_session(&self, volume: &str, timeo: Duration) -> Result<Arc<Volume>> {
        session(&format!("{}/{volume}-{}", self.dirs, self.run).parse()?, timeo).await
    }
}

async fn session(spec: &MountSpec, timeo: Duration) -> Result<Arc<Volume>> {
    let options = Options { timeo, description: "mrc-load".into(), ..Options::default() };
    Client::mount(spec.clone(), options).await.with_context(|| format!("open {spec}"))
}

pub(crate) async fn end(sessions: Vec<Arc<Volume>>) -> Result<()> {
    for session in sessions {
        session.shutdown().await?;
    }
    Ok(())
}
