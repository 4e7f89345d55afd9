//! Many files in many directories.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use xtfs_client::{Caller, FileKind, Volume};
use xtfs_core::Ino;

use crate::operation::NODE;

pub(crate) const DIRECTORY_FILES: u64 = 1000;
/// Files of one directory that one of many makes before the next.
const SHARE_FILES: u64 = 100;

/// Directories of [`DIRECTORY_FILES`] files each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(Arc<Vec<Ino>>);

impl Tree {
    /// Directory and name of some file.
    pub(crate) fn any(&self) -> Option<(Ino, String)> {
        let last = (self.0.len() as u64).checked_sub(1)?;
        let directory = rand::random_range(0..=last);
        let directory = self.0[usize::try_from(directory).ok()?];
        Some((directory, file_name(rand::random_range(0..DIRECTORY_FILES))))
    }

    pub(crate) fn joined(&self, more: &Tree) -> Tree {
        Tree(Arc::new([self.0.as_slice(), more.0.as_slice()].concat()))
    }
}

fn file_name(number: u64) -> String {
    format!("file{number:07}")
}

/// Makes directories of these numbers with their files, `depth` of each session at a time.
pub(crate) async fn grow(
    sessions: &[Arc<Volume>],
    depth: usize,
    directories: Range<u64>,
    progress: &ProgressBar,
) -> Result<Tree> {
    let next = Arc::new(AtomicU64::new(directories.start));
    let mut growing = JoinSet::new();
    for volume in sessions.iter().flat_map(|volume| std::iter::repeat_n(volume, depth)) {
        let (volume, next, progress) = (volume.clone(), next.clone(), progress.clone());
        growing.spawn(async move {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= directories.end {
                    return Ok::<_, anyhow::Error>(made);
                }
                let (root, name) = (volume.root(), format!("directory{number:07}"));
                let made_here = volume.mkdir(&Caller::ROOT, root, name.as_bytes(), NODE).await?;
                fill(&volume, made_here.ino, 0..DIRECTORY_FILES, &progress).await?;
                made.push(made_here.ino);
            }
        });
    }
    let mut tree = Vec::new();
    while let Some(grown) = growing.join_next().await {
        tree.extend(grown??);
    }
    Ok(Tree(Arc::new(tree)))
}

/// Makes one directory with so many files, `depth` at a time. By one session: others would have to be told of each.
pub(crate) async fn grow_big(
    volume: &Arc<Volume>,
    depth: usize,
    files: u64,
    progress: &ProgressBar,
) -> Result<Ino> {
    let big = volume.mkdir(&Caller::ROOT, volume.root(), b"big", NODE).await?.ino;
    let next = Arc::new(AtomicU64::new(0));
    let mut growing = JoinSet::new();
    for _ in 0..depth {
        let (volume, next, progress) = (volume.clone(), next.clone(), progress.clone());
        growing.spawn(async move {
            loop {
                let start = next.fetch_add(SHARE_FILES, Ordering::Relaxed);
                if start >= files {
                    return Ok::<_, anyhow::Error>(());
                }
                let share = start..files.min(start + SHARE_FILES);
                fill(&volume, big, share, &progress).await?;
            }
        });
    }
    while let Some(grown) = growing.join_next().await {
        grown??;
    }
    Ok(big)
}

async fn fill(
    volume: &Volume,
    directory: Ino,
    files: Range<u64>,
    progress: &ProgressBar,
) -> Result<()> {
    for number in files {
        let (name, kind) = (file_name(number), FileKind::File);
        volume.mknod(&Caller::ROOT, directory, name.as_bytes(), kind, NODE, 0).await?;
        progress.inc(1);
    }
    Ok(())
}
