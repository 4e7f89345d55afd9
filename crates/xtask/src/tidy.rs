//! What neither compiler nor linter can say.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::samples;

/// Written apart, so that this file does not find itself.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("#[", "ignore")];

pub(crate) fn check(root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display();
        if !text.starts_with("//!") && file.file_name().is_some_and(|name| name != "build.rs") {
            problems.push(format!("{name}: does not begin with a //! line that says its subject"));
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
                problems.push(format!("{name}:{}: {mark}", number + 1));
            }
        }
    }
    for (path, text) in samples::all()? {
        if fs::read_to_string(root.join(&path)).ok().as_deref() != Some(&*text) {
            problems.push(format!("{}: is not fresh; run: cargo xtask samples", path.display()));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
