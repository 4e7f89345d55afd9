//! What openraft is told about our entries, members and snapshots.

use std::fmt;
use std::sync::Arc;

use openraft::BasicNode;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::snapshot::StateFiles;

openraft::declare_raft_types!(
    /// The same for every service, so that they share store and network: commands are bytes here.
    pub Types:
        D = Commands,
        R = Replies,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = StateFiles,
);

pub type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, BasicNode>;

/// Encoded commands, back to back, each after its length of four bytes. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Commands(Arc<Vec<u8>>);

/// Replies to the commands of an entry, in their order, encoded. They never leave the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub(crate) Vec<Vec<u8>>);

impl Commands {
    pub(crate) fn pack<'a>(commands: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut packed = Vec::new();
        for command in commands {
            let len = u32::try_from(command.len()).expect("propose bounds the size of a command");
            packed.extend(len.to_be_bytes());
            packed.extend(command);
        }
        Commands(Arc::new(packed))
    }

    /// `None` in place of a command that is cut off.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let command = rest.split_first_chunk::<4>().and_then(|(len, tail)| {
                let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
                tail.split_at_checked(len)
            });
            let (command, tail) = command.map_or((None, [].as_slice()), |(c, t)| (Some(c), t));
            rest = tail;
            Some(command)
        })
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commands({} bytes)", self.0.len())
    }
}

impl Serialize for Commands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Commands;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("packed commands")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Commands, E> {
                let commands = Commands(Arc::new(bytes.to_vec()));
                let whole = commands.iter().all(|command| command.is_some());
                if whole { Ok(commands) } else { Err(E::custom("a command is cut off")) }
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_commands_come_out_as_they_went_in() {
        let commands: [&[u8]; 3] = [b"a", b"", b"bcd"];
        let packed = Commands::pack(commands.into_iter());
        let encoded = postcard::to_stdvec(&packed).unwrap();
        let decoded: Commands = postcard::from_bytes(&encoded).unwrap();
        assert_eq!(decoded.iter().collect::<Vec<_>>(), commands.map(Some));
    }

    #[test]
    fn a_command_that_is_cut_off_is_refused() {
        let packed = Commands(Arc::new(vec![0, 0, 0, 9, 1]));
        let encoded = postcard::to_stdvec(&packed).unwrap();
        assert!(postcard::from_bytes::<Commands>(&encoded).is_err());
    }
}
