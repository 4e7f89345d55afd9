//! An inode as it is stored, and what of it applications see.

use serde::{Deserialize, Serialize};
use xtfs_core::access::{Guarded, SGID, SUID};
use xtfs_core::acl::{Acl, Extended};
use xtfs_core::{
    DataNumber, DataVersion, FileEpoch, Floor, Ino, ReplicaSetId, SessionId, SetEpoch,
    StripeLayout, TargetId, Timestamp,
};

use super::command::WriteReport;

/// What `stat` says of the size of a directory.
pub const DIRECTORY_SIZE: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// Where the data of a file lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub striping: StripeLayout,
    pub data: DataNumber,
    pub version: DataVersion,
    /// One for each column.
    pub sets: Vec<ReplicaSetId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    pub ino: Ino,
    pub generation: u64,
    pub kind: FileKind,
    /// Permission bits with suid, sgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    /// Bytes on the disks of OSDs, for each column.
    pub allocated: Vec<u64>,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// Grows with every change.
    pub change: u64,
    pub rdev: u32,
    /// Absent until a file is first opened for writing.
    pub layout: Option<Layout>,
    pub file_epoch: FileEpoch,
    pub floor: Floor,
    /// Somebody writes, or has written and the size is not settled: the columns know it (R2).
    pub writing: bool,
    /// Who wrote since the last settlement, if it was one session.
    pub writer: Option<SessionId>,
    /// One writer's report cannot settle the size: only the columns can (R3).
    pub dirty: bool,
    /// Counts opens for writing, so that a settlement that was overtaken is noticed.
    pub round: u64,
    /// Set together with mtime: a column's mtime counts only if it is newer (R5).
    pub mtime_ignore: Option<Timestamp>,
    /// Of a symbolic link.
    pub target: Vec<u8>,
    /// Of a directory: the one above; the root's is itself.
    pub parent: Ino,
    /// Of a directory: the next cookie. They count from one and are never used again.
    pub next_cookie: u64,
    /// Of a directory: what new files in it get, and new directories take over. Absent: the volume's.
    pub default_layout: Option<StripeLayout>,
    /// Last, because rows of the first format lack it.
    pub acls: Option<Box<Acls>>,
}

/// What of an inode's ACLs its mode cannot say. Not stored where both are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acls {
    /// Of the inode itself. The rest of it is the mode.
    pub access: Option<Extended>,
    /// Of a directory: what new inodes in it get.
    pub default: Option<Acl>,
}

/// What an application sees of an inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub ino: Ino,
    pub generation: u64,
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    pub allocated: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    pub change: u64,
    pub rdev: u32,
    /// Zero where there is none.
    pub stripe_size: u64,
}

/// What all columns of a file answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnsState {
    /// Largest size of the file that a column tells.
    pub size: u64,
    /// Newest write.
    pub mtime: Option<Timestamp>,
    /// For each column.
    pub allocated: Vec<u64>,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dentry {
    pub ino: Ino,
    pub kind: FileKind,
    /// The name's own, for as long as it is in the directory.
    pub cookie: u64,
}

/// An inode without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orphan {
    /// Somebody may hold it open.
    Waiting,
    /// OSDs may have been told; there is no way back.
    Deleting,
}

/// What has to be done about a file's columns. All false: nothing, and no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Tell all columns epoch and floor (R4, R6).
    pub seal: bool,
    /// Ask all columns for the size (R3, R4).
    pub settle: bool,
    /// A writer died: opens for writing and changes of the size wait for both (R4).
    pub dead_writer: bool,
    /// The dead writer is not fenced yet: a cut must reach all columns first, or raising the epoch would
    /// cut again what was written since. The settlement that confirms the cut raises it.
    pub fence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    InSync,
    Syncing,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub target: TargetId,
    pub state: MemberState,
}

/// The targets that hold a group of columns. Of one member, for now; it is the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSet {
    pub id: ReplicaSetId,
    pub epoch: SetEpoch,
    pub members: Vec<Member>,
}

impl Pending {
    pub fn is_empty(self) -> bool {
        self == Pending::default()
    }
}

impl Inode {
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    pub fn guarded(&self) -> Guarded<'_> {
        Guarded {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            directory: self.is_directory(),
            extended: self.acls.as_ref().and_then(|acls| acls.access.as_ref()),
        }
    }

    /// Whether a change to `mode` sets suid or sgid.
    pub fn gains_set_ids(&self, mode: Option<u32>) -> bool {
        mode.is_some_and(|mode| mode & !self.mode & (SUID | SGID) != 0)
    }

    pub fn default_acl(&self) -> Option<&Acl> {
        self.acls.as_ref()?.default.as_ref()
    }

    pub(super) fn change_acls(&mut self, change: impl FnOnce(&mut Acls)) {
        let mut acls = self.acls.take().unwrap_or_default();
        change(&mut acls);
        self.acls = Some(acls).filter(|acls| **acls != Acls::default());
    }

    /// As stored. While `writing`, size, mtime and allocation are the columns' to tell (R2).
    pub fn attributes(&self) -> Attributes {
        Attributes {
            ino: self.ino,
            generation: self.generation,
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            nlink: self.nlink,
            size: self.size,
            allocated: self.allocated.iter().fold(0, |sum, &column| sum.saturating_add(column)),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            change: self.change,
            rdev: self.rdev,
            stripe_size: self.layout.as_ref().map_or(0, |layout| layout.striping.stripe_size()),
        }
    }

    /// With what the columns know while somebody writes (R2, R5): the larger size, and a newer mtime
    /// unless it was set since.
    pub fn with_columns(&self, columns: &ColumnsState) -> Inode {
        let mut seen = self.clone();
        seen.size = seen.size.max(columns.size);
        seen.allocated = columns.allocated.clone();
        if let Some(mtime) = columns.mtime {
            seen.written_at(mtime);
        }
        seen
    }

    /// R3: whether `report` of `session` says all that the columns know, as nobody else has written since the last
    /// settlement.
    pub fn is_told_by(&self, session: SessionId, report: &WriteReport) -> bool {
        let alone = self.writing && !self.dirty && self.writer == Some(session);
        alone && report.file_epoch == self.file_epoch
    }

    /// Whether another session may be writing it, or has been since the last settlement.
    pub fn is_written_by_others(&self, session: SessionId) -> bool {
        self.writing && (self.dirty || self.writer != Some(session))
    }

    /// With what its only writer wrote under the current epoch.
    pub fn with_report(&self, report: &WriteReport) -> Inode {
        let mut seen = self.clone();
        seen.size = seen.size.max(report.end);
        for (column, allocated) in &report.allocated {
            if let Some(known) = seen.allocated.get_mut(usize::from(column.0)) {
                *known = *allocated;
            }
        }
        seen.written_at(report.mtime);
        seen
    }

    /// A write at `mtime` shows if it is newer than all that was known when mtime was set; then also if
    /// the time that was set lies ahead.
    pub(super) fn written_at(&mut self, mtime: Timestamp) {
        let shows = match self.mtime_ignore {
            Some(ignored) => mtime > ignored,
            None => mtime > self.mtime,
        };
        if shows {
            self.mtime = mtime;
            self.mtime_ignore = None;
            self.ctime = self.ctime.max(mtime);
        }
    }

    /// Newest change of the data that the inode knows of; not what somebody set.
    fn changed_at(&self) -> Timestamp {
        self.mtime_ignore.unwrap_or(self.mtime)
    }

    /// R5: writes up to here, or up to what the columns know, count no more.
    pub(super) fn set_mtime(&mut self, mtime: Timestamp, columns: Option<Timestamp>) {
        self.mtime_ignore = Some(self.changed_at()).max(columns);
        self.mtime = mtime;
    }

    /// The data has changed just now.
    pub(super) fn changed_now(&mut self, now: Timestamp) {
        self.mtime_ignore =
            self.mtime_ignore.max(Some(now)).filter(|_| self.mtime_ignore.is_some());
        self.mtime = now;
    }

    /// Whether a cut or growth to `size` must be known to the columns, so that it needs an epoch (R6).
    pub fn resize_needs_epoch(&self, size: u64) -> bool {
        self.layout.is_some() && (size < self.size || self.writing)
    }
}
