//! `cargo xtask dist`: everything that `install.sh` puts in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap_complete::Shell;
use xtfs_rpc::daemon::command;

use crate::samples;

/// Built name, installed name, section of the manual.
const PROGRAMS: [(&str, &str, &str); 10] = [
    ("xtfs", "bin/xtfs", "1"),
    ("xtfsutil", "bin/xtfsutil", "1"),
    ("lsfs-xtfs", "bin/lsfs.xtfs", "1"),
    ("rmfs-xtfs", "bin/rmfs.xtfs", "1"),
    ("xtfs-dir", "bin/xtfs-dir", "8"),
    ("xtfs-mrc", "bin/xtfs-mrc", "8"),
    ("xtfs-osd", "bin/xtfs-osd", "8"),
    ("mount-xtfs", "sbin/mount.xtfs", "8"),
    ("mkfs-xtfs", "sbin/mkfs.xtfs", "8"),
    ("umount-xtfs", "sbin/umount.xtfs", "8"),
];

pub(crate) fn dist(root: &Path) -> Result<()> {
    let dist = root.join("target/dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("empty {}", dist.display()))?;
    }
    let built = build(root)?;
    for (name, installed, _) in PROGRAMS {
        copy(&built.join(name), &dist.join(installed))?;
    }
    manual(&dist.join("share/man"))?;
    completions(&dist.join("share/completions"))?;
    for unit in files(&root.join("deploy"), &["service", "target"])? {
        copy(&unit, &dist.join("share/systemd").join(unit.file_name().context("a file")?))?;
    }
    for proto in files(&root.join("proto"), &["proto"])? {
        copy(&proto, &dist.join("share/proto").join(proto.file_name().context("a file")?))?;
    }
    for (path, text) in samples::all()? {
        let name = path.file_name().context("a file")?;
        write(&dist.join("share/config").join(name), text.as_bytes())?;
    }
    println!("{}", dist.display());
    Ok(())
}

/// Compiles the programs and returns the folder that they are in, wherever Cargo was told to build.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.current_dir(root).args(["build", "--release", "--workspace", "--bins"]);
    command.args(["--exclude", "xtfs-xtask"]);
    if !command.status().context("start cargo")?.success() {
        bail!("cargo build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release"))
}

fn commands() -> Vec<(clap::Command, &'static str)> {
    let mut all = xtfs_cli::commands();
    all.extend([xtfs_client_fuse::cli(), xtfs_client_fuse::umount_cli()]);
    all.push(command::<xtfs_dir::Options>(xtfs_dir::PROGRAM));
    all.push(command::<xtfs_mrc::Options>(xtfs_mrc::PROGRAM));
    all.push(command::<xtfs_osd::Options>(xtfs_osd::PROGRAM));
    let section = |name: &str| {
        let known =
            PROGRAMS.iter().find(|(_, installed, _)| installed.ends_with(&format!("/{name}")));
        known.map_or("1", |(_, _, section)| *section)
    };
    all.into_iter()
        .map(|command| (section(command.get_name()), command))
        .map(|(s, c)| (c, s))
        .collect()
}

fn manual(folder: &Path) -> Result<()> {
    for (command, section) in commands() {
        let name = command.get_name().to_owned();
        pages(&command, &name, section, folder)?;
    }
    Ok(())
}

/// A page for the command and one for each subcommand, as `xtfs-osd-ls`.
fn pages(command: &clap::Command, name: &str, section: &str, folder: &Path) -> Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .section(section)
        .manual("xtfs")
        .render(&mut page)?;
    write(&folder.join(format!("man{section}/{name}.{section}")), &page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        // The daemon has the page xtfs-osd(8); what belongs to `xtfs osd` is in xtfs-osd(1).
        pages(sub, &format!("{name}-{}", sub.get_name()), section, folder)?;
    }
    Ok(())
}

fn completions(folder: &Path) -> Result<()> {
    for (command, _) in commands() {
        let name = command.get_name().to_owned();
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
            write(&folder.join(path), &script)?;
        }
    }
    Ok(())
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file in a folder")?)?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}
