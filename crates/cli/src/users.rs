//! Names of users and groups, as this machine knows them.

use std::process::Command;

use xtfs_rpc::Failure;

/// A number as it stands; a name as the system's name service has it.
pub(crate) fn uid(user: &str) -> Result<u32, Failure> {
    resolve("passwd", "user", user)
}

pub(crate) fn gid(group: &str) -> Result<u32, Failure> {
    resolve("group", "group", group)
}

/// Asks getent(1), which knows LDAP and the like as well; both of its tables have the number third.
fn resolve(table: &str, what: &str, name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let unknown = || Failure::new(format!("there is no {what} {name:?} here"), "give a number");
    let output = Command::new("getent").args([table, name]).output().map_err(|_| unknown())?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    line.split(':').nth(2).and_then(|id| id.parse().ok()).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_resolved() {
        assert_eq!(uid("1234"), Ok(1234));
        assert_eq!(uid("root"), Ok(0));
        assert_eq!(gid("root"), Ok(0));
        assert!(uid("no such user").is_err());
    }
}
