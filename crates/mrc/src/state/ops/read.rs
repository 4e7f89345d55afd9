//! Somebody read: the atime moves as the volume's policy says.

use xtfs_core::{RELATIME_AGE, Result, Timestamp};

use crate::state::change::Change;
use crate::state::command::{Answer, Touch};
use crate::state::inode::Inode;
use crate::state::volume::Atime;

pub(super) fn read(change: &mut Change<'_, '_>, touched: &[Touch]) -> Result<Answer> {
    for touch in touched {
        let mut inode = match change.rows().inode(touch.ino) {
            Ok(inode) => inode,
            // It may be gone since.
            Err(err) if err.is_decided() => continue,
            Err(err) => return Err(err),
        };
        let at = touch.at.min(change.now);
        // Somebody may have set the atime after the read.
        if at >= inode.ctime && moves(change.volume.policy.atime, &inode, at) {
            // Reading is no change: ctime and change counter stay.
            inode.atime = at;
            change.put_inode(&inode)?;
        }
    }
    Ok(Answer::Done)
}

impl Atime {
    /// Before this time no read moves the atime.
    pub fn quiet_until(self, inode: &Inode) -> Timestamp {
        match self {
            Atime::Noatime => Timestamp(i64::MAX),
            Atime::Strictatime => Timestamp(i64::MIN),
            Atime::Relatime if inode.atime <= inode.mtime || inode.atime <= inode.ctime => {
                Timestamp(i64::MIN)
            }
            Atime::Relatime => inode.atime.plus(RELATIME_AGE),
        }
    }
}

pub(in crate::state) fn moves(policy: Atime, inode: &Inode, now: Timestamp) -> bool {
    policy != Atime::Noatime && now >= policy.quiet_until(inode)
}
