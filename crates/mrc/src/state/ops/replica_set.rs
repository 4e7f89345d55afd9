//! Replica sets: of one member, for now.

use xtfs_core::{Error, Result};
use xtfs_kv::Read;

use crate::state::command::{Answer, CreateSet};
use crate::state::inode::{Member, MemberState, ReplicaSet};
use crate::state::keys::store;
use crate::state::machine::Group;

pub(in crate::state) fn create(group: &mut Group<'_, '_>, sets: &[CreateSet]) -> Result<Answer> {
    for create in sets {
        if group.tx.get(&group.keys.replica_set(create.set))?.is_some() {
            return Err(Error::Internal(format!("set {} was made twice", create.set)));
        }
    }
    for create in sets {
        let member = Member { target: create.target, state: MemberState::InSync };
        let set = ReplicaSet { id: create.set, epoch: create.epoch, members: vec![member] };
        store(group.tx, &group.keys.replica_set(create.set), &set)?;
        store(group.tx, &group.keys.set_of_target(create.target, create.set), &())?;
    }
    Ok(Answer::Done)
}
