//! `xtfs osd`: storage targets.

use clap::Subcommand;
use serde_json::{Value, json};
use xtfs_client::Admin;
use xtfs_core::TargetId;
use xtfs_core::units::Bytes;
use xtfs_rpc::{Failure, TargetRecord, TargetState};

use crate::outcome::DONE;
use crate::output::{age, joined, print_json, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List targets, one for each data directory
    Ls,
    /// Let a target take new files (online) or not (locked)
    #[command(after_help = "Example:\n  xtfs osd set 0198f3c2-… locked")]
    Set {
        /// As `xtfs osd ls` shows it, or as much of its start as is unique
        id: String,
        #[arg(value_parser = parse_state)]
        state: TargetState,
    },
}

/// Draining and removing move data, and come with replica sets.
fn parse_state(text: &str) -> Result<TargetState, String> {
    match text.parse() {
        Ok(state @ (TargetState::Online | TargetState::Locked)) => Ok(state),
        _ => Err(format!("{text:?} is not online or locked")),
    }
}

pub(crate) async fn run(command: &Command, admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    match command {
        Command::Ls => list(&admin.services().await?.targets, as_json),
        Command::Set { id, state } => {
            let target = find(&admin.services().await?.targets, id)?;
            admin.set_target_state(target, *state).await?;
            println!("target {target} is {state}");
        }
    }
    Ok(DONE)
}

fn list(targets: &[TargetRecord], as_json: bool) {
    if as_json {
        print_json(&json!({ "osds": targets.iter().map(row).collect::<Vec<_>>() }));
        return;
    }
    let rows = targets.iter().map(|target| {
        vec![
            target.id.to_string(),
            target.node.clone(),
            joined(&target.addresses),
            target.path.clone(),
            target.state.to_string(),
            if target.alive {
                "yes".to_owned()
            } else {
                format!("no, {}", age(target.heartbeat_age))
            },
            Bytes(target.total_bytes).to_string(),
            Bytes(target.used_bytes).to_string(),
            Bytes(target.free_bytes).to_string(),
        ]
    });
    let header = ["ID", "NODE", "ADDRESS", "PATH", "STATE", "ALIVE", "TOTAL ", "USED ", "FREE "];
    print_table(&header, rows.collect());
}

fn row(target: &TargetRecord) -> Value {
    json!({
        "id": target.id.to_string(),
        "node": target.node,
        "address": target.addresses.first().map(ToString::to_string),
        "path": target.path,
        "zone": target.zone,
        "labels": target.labels,
        "state": target.state.name(),
        "alive": target.alive,
        "heartbeat_age_s": target.heartbeat_age.as_secs_f64(),
        "total_bytes": target.total_bytes,
        "used_bytes": target.used_bytes,
        "free_bytes": target.free_bytes,
        "fault": target.fault,
    })
}

fn find(targets: &[TargetRecord], start: &str) -> Result<TargetId, Failure> {
    let mut matching = targets.iter().filter(|target| target.id.to_string().starts_with(start));
    match (matching.next(), matching.next()) {
        (Some(target), None) => Ok(target.id),
        (None, _) => Err(Failure::new(format!("no target has the id {start}"), "see xtfs osd ls")),
        _ => {
            Err(Failure::new(format!("several targets begin with {start}"), "give more of the id"))
        }
    }
}
