//! `xtfs where`: on which OSDs a file's columns lie.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use xtfs_client::{FileLayout, HeldColumn, Where};
use xtfs_core::units::Bytes;
use xtfs_core::{ColumnId, ColumnIndex, TargetId};
use xtfs_rpc::{Failure, ServiceList};

use crate::mounted::{MountedFile, absolute};
use crate::outcome::DONE;
use crate::output::{joined, print_json, print_table};

pub(crate) async fn run(path: &Path, timeout: Duration, as_json: bool) -> Result<u8, Failure> {
    let file = MountedFile::find(path, timeout).await?;
    let found = file.admin.where_is(&file.volume, file.ino).await?;
    let services = file.admin.services().await?;
    let mut lengths = BTreeMap::new();
    if let Some(layout) = &found.layout {
        for (target, columns) in by_target(&file, layout) {
            // A target that does not answer leaves its lengths open.
            let held = file.admin.stat_columns(&services, target, &columns).await;
            lengths.extend(held.into_iter().flatten().map(|held| (held.column.index, held)));
        }
    }
    match as_json {
        true => print_as_json(&file, &found, &services, &lengths),
        false => print(&absolute(path), &file, &found, &services, &lengths),
    }
    Ok(DONE)
}

fn column_id(file: &MountedFile, layout: &FileLayout, index: ColumnIndex) -> ColumnId {
    ColumnId { volume: file.volume.id, data: layout.data, index, version: layout.version }
}

/// The columns whose primary is at each target.
fn by_target(file: &MountedFile, layout: &FileLayout) -> BTreeMap<TargetId, Vec<ColumnId>> {
    let mut columns = BTreeMap::<_, Vec<_>>::new();
    for (index, set) in layout.striping.columns().zip(&layout.sets) {
        if let Some(primary) = set.members.first() {
            columns.entry(primary.target).or_default().push(column_id(file, layout, index));
        }
    }
    columns
}

type Lengths = BTreeMap<ColumnIndex, HeldColumn>;

fn print_as_json(file: &MountedFile, found: &Where, services: &ServiceList, lengths: &Lengths) {
    let layout = found.layout.as_ref();
    let columns = layout.map(|layout| {
        let columns = layout.striping.columns().zip(&layout.sets);
        let rows = columns.map(|(index, set)| {
            let replicas = set.members.iter().map(|member| {
                let target = services.target(member.target);
                json!({
                    "osd": member.target.to_string(),
                    "address": target.and_then(|t| t.addresses.first()).map(ToString::to_string),
                    "epoch": set.epoch.0,
                    "state": if member.in_sync { "in-sync" } else { "syncing" },
                })
            });
            json!({
                "column": index.0,
                "bytes": lengths.get(&index).map(|held| held.length),
                "replicas": replicas.collect::<Vec<_>>(),
            })
        });
        rows.collect::<Vec<_>>()
    });
    let striping = layout.map(|layout| layout.striping).or(found.default_layout);
    print_json(&json!({
        "volume": file.volume.name,
        "ino": file.ino.0,
        "size": found.attributes.size,
        "stripe_size": striping.map(|striping| striping.stripe_size()),
        "stripe_width": striping.map(|striping| striping.stripe_width()),
        "columns": columns.unwrap_or_default(),
    }));
}

fn print(
    path: &Path,
    file: &MountedFile,
    found: &Where,
    services: &ServiceList,
    lengths: &Lengths,
) {
    println!("{}", path.display());
    println!("volume {}, inode {}, {}", file.volume.name, file.ino, Bytes(found.attributes.size));
    let Some(layout) = &found.layout else {
        match found.default_layout {
            Some(new) => println!(
                "new files here: stripes of {} over {} OSDs",
                Bytes(new.stripe_size()),
                new.stripe_width()
            ),
            None => println!("no data"),
        }
        return;
    };
    let striping = layout.striping;
    println!("stripes of {} over {} OSDs", Bytes(striping.stripe_size()), striping.stripe_width());
    let rows = striping.columns().zip(&layout.sets).flat_map(|(index, set)| {
        set.members.iter().map(move |member| {
            let target = services.target(member.target);
            let length = lengths.get(&index).map(|held| Bytes(held.length).to_string());
            vec![
                index.to_string(),
                length.unwrap_or("?".into()),
                member.target.to_string(),
                target.map(|t| joined(&t.addresses)).unwrap_or_default(),
                target.map(|t| t.path.clone()).unwrap_or_default(),
                set.epoch.to_string(),
            ]
        })
    });
    print_table(&["COLUMN ", "BYTES ", "OSD", "ADDRESS", "PATH", "EPOCH "], rows.collect());
}
