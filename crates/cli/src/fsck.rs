//! `xtfs fsck`: compares catalog and OSDs, while the volume is in use.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use xtfs_client::{Admin, ScannedInode, VolumeInfo};
use xtfs_core::{ColumnId, DataNumber, Ino, TargetId};
use xtfs_rpc::{Failure, ServiceList};

use crate::findings::{FileEntry, Finding, Kind, compare_files, extra_columns};
use crate::outcome::DONE;
use crate::output::{print_json, print_table};

/// Exit codes of their own, as fsck(8) has them.
const FINDINGS: u8 = 4;
pub(crate) const UNFINISHED: u8 = 8;

/// Inodes of one request to the MRC, and columns of one to an OSD.
const PAGE: u32 = 1000;
/// A difference that is still there after this pause is a finding.
const SECOND_LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 clean, 4 findings, 8 could not finish.\n\
    Example:\n  xtfs fsck scratch --dir meta1")]
pub(crate) struct Fsck {
    volume: String,
    /// Remove columns that no file has, and cut columns that reach beyond their file
    #[arg(long)]
    repair: bool,
}

/// One run over one volume.
struct Run<'a> {
    admin: &'a Admin,
    services: ServiceList,
    volume: VolumeInfo,
    progress: ProgressBar,
}

/// What one pass over the volume saw.
#[derive(Default)]
struct Pass {
    findings: BTreeSet<Finding>,
    silent: HashSet<TargetId>,
    inodes: u64,
}

pub(crate) async fn run(fsck: &Fsck, admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    let services = admin.services().await?;
    let volume = admin.volume(&fsck.volume).await?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {eta} left");
    let progress = ProgressBar::new(volume.files)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let run = Run { admin, services, volume, progress };
    let first = run.pass().await?;
    let mut found = first.findings;
    if !found.is_empty() {
        // Files come and go meanwhile: what was on its way is in order by now.
        tokio::time::sleep(SECOND_LOOK).await;
        let second = run.pass().await?.findings;
        found.retain(|finding| second.contains(finding));
    }
    run.progress.finish_and_clear();
    if let Some(silent) = first.silent.iter().next() {
        let text = format!("target {silent} does not answer");
        return Err(Failure::new(text, "xtfs status names what is wrong with it"));
    }
    let findings: Vec<_> = found.into_iter().collect();
    let mut left = findings.clone();
    if fsck.repair {
        left = run.repair(&findings).await?;
    }
    run.print(&findings, first.inodes, as_json).await;
    if fsck.repair && !as_json {
        println!("{} repaired, {} left", findings.len() - left.len(), left.len());
    }
    Ok(if left.is_empty() { DONE } else { FINDINGS })
}

impl Run<'_> {
    async fn pass(&self) -> Result<Pass, Failure> {
        let mut pass = Pass::default();
        let mut known = HashSet::new();
        let mut deleting = HashSet::new();
        let held = self.list_columns(&mut pass).await?;
        let mut after = Ino(0);
        self.progress.set_position(0);
        loop {
            let page = self.admin.scan(&self.volume, after, PAGE).await?;
            let files: Vec<_> = page.inodes.iter().filter_map(|inode| self.entry(inode)).collect();
            known.extend(data_numbers(&files));
            deleting.extend(page.deleting);
            self.check_files(&files, &mut pass).await?;
            pass.inodes += page.inodes.len() as u64;
            self.progress.set_position(pass.inodes);
            match page.inodes.last() {
                Some(last) if !page.end => after = last.attributes.ino,
                _ => break,
            }
        }
        for (target, columns) in held {
            pass.findings.extend(extra_columns(target, &columns, &known, &deleting));
        }
        Ok(pass)
    }

    /// What each target holds of this volume, listed before the inodes: what is made meanwhile is
    /// not taken for extra.
    async fn list_columns(
        &self,
        pass: &mut Pass,
    ) -> Result<BTreeMap<TargetId, Vec<ColumnId>>, Failure> {
        let mut all = BTreeMap::new();
        for target in self.services.targets.iter().map(|target| target.id) {
            let mut columns = Vec::new();
            loop {
                let after = columns.last().copied();
                let volume = self.volume.id;
                let page = self.admin.columns(&self.services, target, volume, after, PAGE).await;
                let Some((page, end)) = answered(page, target, pass)? else { break };
                columns.extend(page);
                if end {
                    break;
                }
            }
            all.insert(target, columns);
        }
        Ok(all)
    }

    fn entry(&self, inode: &ScannedInode) -> Option<FileEntry> {
        let layout = inode.layout.as_ref()?;
        let columns = layout.striping.columns().zip(&layout.sets).filter_map(|(index, set)| {
            let column = ColumnId {
                volume: self.volume.id,
                data: layout.data,
                index,
                version: layout.version,
            };
            Some((column, set.members.first()?.target))
        });
        Some(FileEntry {
            ino: inode.attributes.ino,
            size: inode.attributes.size,
            layout: layout.striping,
            columns: columns.collect(),
            pending: inode.pending,
        })
    }

    async fn check_files(&self, files: &[FileEntry], pass: &mut Pass) -> Result<(), Failure> {
        let mut by_target = BTreeMap::<TargetId, Vec<ColumnId>>::new();
        let inos: BTreeMap<_, _> = files
            .iter()
            .flat_map(|file| file.columns.iter().map(|(column, _)| (*column, file.ino)))
            .collect();
        for (column, target) in files.iter().flat_map(|file| &file.columns) {
            by_target.entry(*target).or_default().push(*column);
        }
        let mut held = BTreeMap::new();
        for (target, columns) in by_target {
            for columns in columns.chunks(PAGE as usize) {
                let stats = self.admin.stat_columns(&self.services, target, columns).await;
                let Some(stats) = answered(stats, target, pass)? else { break };
                let there = stats.into_iter().filter(|stat| stat.exists);
                held.extend(there.map(|stat| (stat.column, stat.length)));
                let damaged = self.admin.verify_columns(&self.services, target, columns).await;
                let Some(damaged) = answered(damaged, target, pass)? else { break };
                pass.findings.extend(damaged.into_iter().map(|damage| Finding {
                    kind: if damage.missing { Kind::Missing } else { Kind::Checksum },
                    ino: inos.get(&damage.column).copied(),
                    column: damage.column,
                    target,
                }));
            }
        }
        pass.findings.extend(compare_files(files, &held));
        Ok(())
    }

    /// Returns what cannot be repaired.
    async fn repair(&self, findings: &[Finding]) -> Result<Vec<Finding>, Failure> {
        let mut left = Vec::new();
        for finding in findings {
            match (finding.kind, finding.ino) {
                (Kind::Extra, _) => {
                    let columns = [finding.column];
                    self.admin.delete_columns(&self.services, finding.target, &columns).await?;
                }
                (Kind::Size, Some(ino)) => {
                    let size = self.admin.where_is(&self.volume, ino).await?.attributes.size;
                    self.admin.set_size(&self.volume, ino, size).await?;
                }
                // There is one copy of the data, and it is gone.
                _ => left.push(*finding),
            }
        }
        Ok(left)
    }

    async fn print(&self, findings: &[Finding], inodes: u64, as_json: bool) {
        let mut rows = Vec::new();
        for finding in findings {
            let path = match finding.ino {
                Some(ino) => {
                    self.admin.path_of(&self.volume, ino).await.ok().map(|path| format!("/{path}"))
                }
                None => None,
            };
            rows.push((finding, path));
        }
        if as_json {
            let rows: Vec<_> = rows
                .iter()
                .map(|(finding, path)| {
                    json!({
                        "kind": finding.kind,
                        "ino": finding.ino.map(|ino| ino.0),
                        "path": path,
                        "column": finding.column.to_string(),
                        "osd": finding.target.to_string(),
                    })
                })
                .collect();
            print_json(&json!({ "clean": findings.is_empty(), "findings": rows }));
            return;
        }
        if findings.is_empty() {
            println!("{}: clean, {inodes} inodes", self.volume.name);
            return;
        }
        let rows = rows.into_iter().map(|(finding, path)| {
            vec![
                format!("{:?}", finding.kind).to_lowercase(),
                finding.ino.map_or("-".into(), |ino| ino.to_string()),
                path.unwrap_or("-".into()),
                finding.column.to_string(),
                finding.target.to_string(),
            ]
        });
        print_table(&["KIND", "INODE ", "PATH", "COLUMN", "OSD"], rows.collect());
    }
}

fn data_numbers(files: &[FileEntry]) -> impl Iterator<Item = DataNumber> {
    files.iter().filter_map(|file| file.columns.first()).map(|(column, _)| column.data)
}

/// `None`, and remembered, if the target is away; what it decided is an error.
fn answered<T>(
    reply: xtfs_core::Result<T>,
    target: TargetId,
    pass: &mut Pass,
) -> Result<Option<T>, Failure> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(err) if err.is_retryable() => {
            pass.silent.insert(target);
            Ok(None)
        }
        Err(err) => Err(Failure::new(format!("target {target}: {err}"), "see its log")),
    }
}
