//! Sample configurations: every setting with its default, from the structs that read them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtfs_rpc::daemon::sample_config;

/// Path below the checkout, and text.
pub(crate) fn all() -> Result<Vec<(PathBuf, String)>> {
    let samples = [
        ("dir", sample_config::<xtfs_dir::Config>()),
        ("mrc", sample_config::<xtfs_mrc::Config>()),
        ("osd", sample_config::<xtfs_osd::Config>()),
        ("mount", sample_config::<xtfs_client_fuse::MountConfig>()),
    ];
    Ok(samples.map(|(name, text)| (PathBuf::from(format!("deploy/{name}.toml")), text)).into())
}

pub(crate) fn write(root: &Path) -> Result<()> {
    for (path, text) in all()? {
        fs::write(root.join(&path), text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
