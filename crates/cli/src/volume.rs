//! `xtfs volume`: what volumes there are, and their policies.

use clap::Subcommand;
use serde_json::{Value, json};
use xtfs_client::{Admin, VolumeInfo};
use xtfs_core::units::Bytes;
use xtfs_rpc::Failure;

use crate::mkfs::{Setting, settings};
use crate::outcome::DONE;
use crate::output::{print_json, print_table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List volumes
    Ls,
    /// Show a volume's policies
    Show { name: String },
    /// Change policies: chown_non_root, root_squash, atime
    #[command(after_help = "Example:\n  xtfs volume set scratch atime=noatime root_squash=true")]
    Set {
        name: String,
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<Setting>,
    },
}

pub(crate) async fn run(command: &Command, admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    match command {
        Command::Ls => list(admin, as_json).await,
        Command::Show { name } => {
            show(&admin.volume(name).await?, as_json);
            Ok(DONE)
        }
        Command::Set { name, settings: changes } => {
            show(&admin.set_volume(name, settings(changes)).await?, as_json);
            Ok(DONE)
        }
    }
}

pub(crate) async fn list(admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    let volumes = admin.volumes().await?;
    if as_json {
        let rows: Vec<_> = volumes.iter().map(row).collect();
        print_json(&json!({ "volumes": rows }));
        return Ok(DONE);
    }
    let rows = volumes.iter().map(|volume| {
        vec![
            volume.name.clone(),
            Bytes(volume.layout.stripe_size()).to_string(),
            volume.layout.stripe_width().to_string(),
            volume.files.to_string(),
            Bytes(volume.bytes).to_string(),
        ]
    });
    print_table(&["VOLUME", "STRIPE ", "WIDTH ", "FILES ", "BYTES "], rows.collect());
    Ok(DONE)
}

fn row(volume: &VolumeInfo) -> Value {
    json!({
        "name": volume.name,
        "id": format!("{:x}", volume.id.0),
        "mrc": volume.group.0,
        "stripe_size": volume.layout.stripe_size(),
        "stripe_width": volume.layout.stripe_width(),
        "files": volume.files,
        "bytes": volume.bytes,
    })
}

fn show(volume: &VolumeInfo, as_json: bool) {
    if as_json {
        let mut shown = row(volume);
        shown["chown_non_root"] = volume.chown_non_root.into();
        shown["root_squash"] = volume.root_squash.into();
        shown["atime"] = volume.atime.clone().into();
        print_json(&shown);
        return;
    }
    println!("volume          {}", volume.name);
    println!("id              {:x}", volume.id.0);
    println!("mrc group       {}", volume.group);
    println!("stripe size     {}", Bytes(volume.layout.stripe_size()));
    println!("stripe width    {}", volume.layout.stripe_width());
    println!("chown_non_root  {}", volume.chown_non_root);
    println!("root_squash     {}", volume.root_squash);
    println!("atime           {}", volume.atime);
    println!("files           {}", volume.files);
    println!("bytes           {}", Bytes(volume.bytes));
}
