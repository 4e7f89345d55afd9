//! `xtfs mrc`: metadata servers.

use clap::Subcommand;
use serde_json::json;
use xtfs_client::{Admin, MrcLoad};
use xtfs_rpc::{Failure, MrcRecord};

use crate::outcome::DONE;
use crate::output::{age, joined, print_json, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List MRCs, with what they have on their hands
    Ls,
}

pub(crate) async fn run(command: &Command, admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    let Command::Ls = command;
    let services = admin.services().await?;
    let mut rows = Vec::new();
    for mrc in &services.mrcs {
        // One that does not answer is listed all the same.
        let load = match mrc.alive {
            true => admin.mrc_load(&services, mrc.group).await.ok(),
            false => None,
        };
        rows.push((mrc, load));
    }
    print(&rows, as_json);
    Ok(DONE)
}

fn print(rows: &[(&MrcRecord, Option<MrcLoad>)], as_json: bool) {
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(mrc, load)| {
                json!({
                    "id": mrc.id.to_string(),
                    "group": mrc.group.0,
                    "leader": mrc.leader,
                    "node": mrc.node,
                    "address": mrc.addresses.first().map(ToString::to_string),
                    "alive": mrc.alive,
                    "heartbeat_age_s": mrc.heartbeat_age.as_secs_f64(),
                    "sessions": load.map(|load| load.sessions),
                    "open_files": load.map(|load| load.open_files),
                    "deletions_pending": load.map(|load| load.deletions_pending),
                    "settlements_pending": load.map(|load| load.settlements_pending),
                })
            })
            .collect();
        print_json(&json!({ "mrcs": rows }));
        return;
    }
    let shown = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let rows = rows.iter().map(|(mrc, load)| {
        vec![
            mrc.id.to_string(),
            mrc.group.to_string(),
            mrc.node.clone(),
            joined(&mrc.addresses),
            if mrc.alive { "yes".to_owned() } else { format!("no, {}", age(mrc.heartbeat_age)) },
            shown(load.map(|load| load.sessions)),
            shown(load.map(|load| load.open_files)),
            shown(load.map(|load| load.deletions_pending)),
        ]
    });
    let header = ["ID", "GROUP ", "NODE", "ADDRESS", "ALIVE", "SESSIONS ", "OPEN ", "DELETIONS "];
    print_table(&header, rows.collect());
}
