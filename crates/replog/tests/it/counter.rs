//! A machine that the tests can check: it appends what it is told to a list.

use serde::{Deserialize, Serialize};
use xtfs_core::{Error, Result};
use xtfs_kv::{KeyRange, Read, Transaction};
use xtfs_replog::{Config, StateMachine};

#[derive(Debug, Default)]
pub(crate) struct List;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Append(u64),
    /// Writes, and is refused for business reasons.
    Refuse,
    /// Gives space back.
    Free,
    /// Cannot be applied.
    Break,
    Blob(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The length of the list after it.
    Length(u64),
    Refused(Error),
}

impl StateMachine for List {
    type Command = Command;
    type Reply = Reply;

    fn apply(&self, command: Command, tx: &mut Transaction<'_>) -> Result<Reply> {
        let length = length(tx)?;
        match command {
            Command::Append(number) => {
                tx.put(&[b"i".as_slice(), &length.to_be_bytes()].concat(), &number.to_be_bytes());
                tx.put(b"length", &(length + 1).to_be_bytes());
                Ok(Reply::Length(length + 1))
            }
            Command::Refuse => {
                let refused: Result<()> = tx.nested(|tx| {
                    tx.put(b"length", b"nonsense");
                    Err(Error::NotFound)
                });
                Ok(Reply::Refused(refused.unwrap_err()))
            }
            Command::Free => Ok(Reply::Length(length)),
            Command::Break => Err(Error::Internal("cannot be applied".to_owned())),
            Command::Blob(bytes) => {
                tx.put(b"blob", &bytes);
                Ok(Reply::Length(length))
            }
        }
    }

    fn frees_space(&self, command: &Command) -> bool {
        matches!(command, Command::Free)
    }
}

pub(crate) fn length(read: &dyn Read) -> Result<u64> {
    let length = read.get(b"length")?;
    Ok(length.map_or(0, |length| u64::from_be_bytes(length.try_into().unwrap())))
}

/// What was appended, in order.
pub(crate) fn items(read: &dyn Read) -> Vec<u64> {
    let pairs = read.scan(&KeyRange::prefix(b"i"), usize::MAX).unwrap();
    let items: Vec<_> =
        pairs.into_iter().map(|(_, value)| u64::from_be_bytes(value.try_into().unwrap())).collect();
    assert_eq!(items.len() as u64, length(read).unwrap());
    items
}

/// Syncs only when asked.
pub(crate) fn config() -> Config {
    Config {
        commit_interval: std::time::Duration::from_secs(3600),
        min_free_bytes: 0,
        ..Config::default()
    }
}
