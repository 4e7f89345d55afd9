//! `xtfs status`: one word, and what to do about it.

use serde_json::json;
use xtfs_client::Admin;
use xtfs_rpc::Failure;

use crate::health::{Health, judge, overall};
use crate::output::print_json;

/// Exit code 0, 1 or 2.
pub(crate) async fn run(admin: &Admin, as_json: bool) -> Result<u8, Failure> {
    let services = admin.services().await?;
    let checks = judge(&services);
    let health = overall(&checks);
    if as_json {
        print_json(&json!({ "health": health, "checks": checks }));
    } else {
        let alive = services.targets.iter().filter(|target| target.alive).count();
        let word = word(health);
        let (volumes, targets) = (services.volumes.len(), services.targets.len());
        println!("{word}: {alive} of {targets} OSDs alive, {volumes} volumes");
        for check in &checks {
            let severity = self::word(check.severity);
            println!("{severity}: {}\n  {}\n  next: {}", check.subject, check.cause, check.next);
        }
    }
    Ok(health as u8)
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warning => "warning",
        Health::Critical => "critical",
    }
}
