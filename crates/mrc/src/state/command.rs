//! What changes the state, and what it answers.
//!
//! A command carries all that is not in the state: its time, its caller, the numbers it may use.

use serde::{Deserialize, Serialize};
use xtfs_core::access::Identity;
use xtfs_core::{
    ClientId, ColumnIndex, FileEpoch, Ino, ReplicaSetId, RequestNumber, Result, SessionId,
    SetEpoch, StripeLayout, TargetId, Timestamp, VolumeId,
};
use xtfs_kv::Durability;

use super::inode::{ColumnsState, FileKind, Inode, Layout};
use super::lock::{LockKind, LockRange};
use super::session::Session;
use super::volume::{Setting, Volume, VolumePolicy};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The proposer's time. Applied as the largest so far.
    pub now: Timestamp,
    /// As the client says; root squash is applied with the command.
    pub caller: Identity,
    /// Absent: not a client's mutation, its answer is not remembered.
    pub origin: Option<Origin>,
    /// Zero where the action is not about one volume.
    pub volume: VolumeId,
    pub action: Action,
}

/// Which request of which session a command carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub session: SessionId,
    pub number: RequestNumber,
    pub lowest_unanswered: RequestNumber,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Changes nothing: an entry of the log that others can wait for.
    Nothing,
    Reserve(Reserve),
    CreateVolume(CreateVolume),
    DeleteVolume(DeleteVolume),
    SetVolume(SetVolume),
    /// One more piece of a deleted volume (`volume` of the command) goes; answers [`Answer::Purged`].
    PurgeVolume,
    OpenSession(OpenSession),
    EndSession(EndSession),
    CreateSets(Vec<CreateSet>),
    // Namespace.
    Mknod(Mknod),
    Mkdir(Mkdir),
    Symlink(Symlink),
    Link(Link),
    Unlink(Unlink),
    Rmdir(Unlink),
    Rename(Rename),
    SetAttr(SetAttr),
    SetXattr(SetXattr),
    RemoveXattr(RemoveXattr),
    SetDefaultLayout(SetDefaultLayout),
    // Open files.
    Create(Create),
    Open(Open),
    Close(Vec<Close>),
    Report(Report),
    Read(Vec<Touch>),
    // Workers.
    Settle(Settle),
    BeginDelete(Vec<Ino>),
    FinishDelete(Vec<Ino>),
    ForgetNeverUsed(NumberRange),
    // The newest come last: the log has the others by their number.
    Lock(Lock),
    BeginAppend(Append),
    EndAppend(EndAppend),
    GiveSetIds(GiveSetIds),
}

/// Takes the next `count` numbers; answers [`Answer::Reserved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    pub count: u64,
    /// The first of a new leader: what its predecessor reserved and did not use is never used (P5).
    pub restart: bool,
}

/// Numbers from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRange {
    pub start: u64,
    pub end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVolume {
    pub name: String,
    pub policy: VolumePolicy,
    /// Of the root directory.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVolume {
    pub name: String,
    /// Also if it has files.
    pub force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetVolume {
    pub name: String,
    pub settings: Vec<Setting>,
}

/// For the command's volume. The same client gets the same session again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    pub session: SessionId,
    pub client: ClientId,
    pub description: String,
}

/// Closed or expired: results and opens go, files that it wrote get `epoch` and are to be sealed (R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    pub session: SessionId,
    pub epoch: FileEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSet {
    pub set: ReplicaSetId,
    pub epoch: SetEpoch,
    pub target: TargetId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mknod {
    pub parent: Ino,
    pub name: Vec<u8>,
    /// Anything but a directory or a symbolic link.
    pub kind: FileKind,
    pub mode: u32,
    pub umask: u32,
    pub rdev: u32,
    pub ino: Ino,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkdir {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub mode: u32,
    pub umask: u32,
    pub ino: Ino,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symlink {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub ino: Ino,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub ino: Ino,
    pub parent: Ino,
    pub name: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlink {
    pub parent: Ino,
    pub name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenameMode {
    Replace,
    /// RENAME_NOREPLACE.
    NoReplace,
    /// RENAME_EXCHANGE.
    Exchange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub new_parent: Ino,
    pub new_name: Vec<u8>,
    pub mode: RenameMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    To(Timestamp),
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    pub size: u64,
    /// Present if [`Inode::resize_needs_epoch`] said so when the command was made. If it is missing and
    /// needed the command is undecided: make it again.
    pub epoch: Option<FileEpoch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAttr {
    pub ino: Ino,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<Resize>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    /// The session holds the inode open for writing: permission to resize was checked at open.
    pub by_handle: bool,
    pub kill_set_ids: bool,
    /// Newest mtime of the columns, where `mtime` is set on a file that is being written (R5).
    pub columns_mtime: Option<Timestamp>,
}

/// A change of a file that others write to suid or sgid: they learn of it by the epoch (R12). If it was only a
/// [`SetAttr`] the command is undecided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveSetIds {
    pub set: SetAttr,
    pub epoch: FileEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XattrMode {
    Set,
    /// XATTR_CREATE.
    Create,
    /// XATTR_REPLACE.
    Replace,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetXattr {
    pub ino: Ino,
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub mode: XattrMode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveXattr {
    pub ino: Ino,
    pub name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDefaultLayout {
    pub ino: Ino,
    /// Absent: as the directory above.
    pub layout: Option<StripeLayout>,
}

/// What an open asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenMode {
    pub read: bool,
    pub write: bool,
    /// Opened to be executed: x instead of r is asked for.
    pub execute: bool,
    /// It is cut to nothing: w is asked for, whatever the handle can do. In the same command, because a repeated request
    /// must not cut what was written since its first answer.
    pub truncate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    pub parent: Ino,
    pub name: Vec<u8>,
    pub mode: u32,
    pub umask: u32,
    pub exclusive: bool,
    pub open: OpenMode,
    pub ino: Ino,
    /// Taken if the file has none yet and is opened for writing.
    pub layout: Option<Layout>,
    /// For the cut, see [`Resize::epoch`].
    pub epoch: Option<FileEpoch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub ino: Ino,
    pub open: OpenMode,
    /// Taken if the file has none yet and is opened for writing.
    pub layout: Option<Layout>,
    /// For the cut, see [`Resize::epoch`].
    pub epoch: Option<FileEpoch>,
}

/// What a writer knows when it closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReport {
    pub file_epoch: FileEpoch,
    /// End of the farthest write, in bytes of the file.
    pub end: u64,
    pub mtime: Timestamp,
    /// Bytes on disk, for each column that was written.
    pub allocated: Vec<(ColumnIndex, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    pub ino: Ino,
    /// What was opened.
    pub write: bool,
    /// Absent: nothing was written.
    pub report: Option<WriteReport>,
}

/// Size and times of a file that stays open, as one that writes it knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub ino: Ino,
    pub report: WriteReport,
}

/// A turn of the command's session to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    pub ino: Ino,
    /// The session's own number for it.
    pub turn: u64,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndAppend {
    pub append: Append,
    pub report: Option<WriteReport>,
    /// A write may still be on its way: raised to this, as after a writer's death (R4).
    pub epoch: Option<FileEpoch>,
}

/// Somebody read: the atime moves as the volume's policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    pub ino: Ino,
    /// Not after the command.
    pub at: Timestamp,
}

/// Takes, converts or gives back a range of an inode that the session holds open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub ino: Ino,
    /// Within the session.
    pub owner: u64,
    /// Absent: it is given back.
    pub kind: Option<LockKind>,
    pub range: LockRange,
    pub pid: u32,
    pub process: u64,
    /// It was granted before, and a power cut took that.
    pub lost: bool,
}

/// Ends what was pending on a file. Changes nothing if the file has gone on meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    pub ino: Ino,
    /// As read before the columns were asked.
    pub file_epoch: FileEpoch,
    pub round: u64,
    /// All columns have confirmed epoch and floor.
    pub sealed: bool,
    /// What they answered; absent if only the seal is reported.
    pub columns: Option<ColumnsState>,
    /// A new number if `Pending::fence` was set when the columns were asked. The file then gets it as its
    /// epoch, and the columns have to be sealed and asked once more.
    pub fence: Option<FileEpoch>,
}

/// What the application, or the service, is told; a refusal is an answer as well.
pub type Reply = Result<Answer>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Inode(Box<Inode>),
    Opened(Box<Opened>),
    Volume(Volume),
    Session(Session),
    Reserved(NumberRange),
    /// Whether the volume is gone now.
    Purged {
        gone: bool,
    },
    /// Inodes that are to be deleted at OSDs: those of the command that nobody holds.
    Deleting(Vec<Ino>),
    /// Whether the file has nothing pending now.
    Settled(bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub inode: Inode,
    pub created: bool,
    /// Rights that the capability gets.
    pub write: bool,
}

impl Command {
    /// What the log waits for before it answers (P4): a command is synced first if somebody outside may
    /// act on it.
    pub fn durability(&self) -> Durability {
        match &self.action {
            Action::Reserve(_)
            | Action::CreateVolume(_)
            | Action::DeleteVolume(_)
            | Action::SetVolume(_)
            | Action::PurgeVolume
            | Action::OpenSession(_)
            | Action::EndSession(_)
            | Action::CreateSets(_)
            | Action::GiveSetIds(_)
            | Action::BeginDelete(_) => Durability::Synced,
            Action::SetAttr(set) if set.size.is_some_and(|size| size.epoch.is_some()) => {
                Durability::Synced
            }
            Action::Create(Create { epoch: Some(_), .. })
            | Action::Open(Open { epoch: Some(_), .. }) => Durability::Synced,
            Action::Settle(settle) if settle.fence.is_some() => Durability::Synced,
            Action::Nothing
            | Action::Mknod(_)
            | Action::Mkdir(_)
            | Action::Symlink(_)
            | Action::Link(_)
            | Action::Unlink(_)
            | Action::Rmdir(_)
            | Action::Rename(_)
            | Action::SetAttr(_)
            | Action::SetXattr(_)
            | Action::RemoveXattr(_)
            | Action::SetDefaultLayout(_)
            | Action::Create(_)
            | Action::Open(_)
            | Action::Close(_)
            | Action::Report(_)
            | Action::Read(_)
            | Action::Settle(_)
            | Action::FinishDelete(_)
            | Action::ForgetNeverUsed(_)
            | Action::Lock(_)
            | Action::BeginAppend(_) => Durability::Process,
            Action::EndAppend(end) if end.epoch.is_none() => Durability::Process,
            Action::EndAppend(_) => Durability::Synced,
        }
    }

    /// Whether it gives space back, or goes with what does: such a command is let through on a disk that
    /// is nearly full, so that unlinking works there.
    pub fn frees_space(&self) -> bool {
        matches!(
            self.action,
            Action::Nothing
                | Action::Reserve(_)
                | Action::DeleteVolume(_)
                | Action::PurgeVolume
                | Action::EndSession(_)
                | Action::Unlink(_)
                | Action::Rmdir(_)
                | Action::RemoveXattr(_)
                | Action::Close(_)
                | Action::Settle(_)
                | Action::BeginDelete(_)
                | Action::FinishDelete(_)
                | Action::ForgetNeverUsed(_)
                | Action::BeginAppend(_)
                | Action::EndAppend(_)
        ) || match &self.action {
            Action::SetAttr(set) => set.size.is_some(),
            // What takes next to nothing and is given back at close: files can still be read.
            Action::Open(open) => !open.open.write && !open.open.truncate,
            Action::Lock(_) => true,
            _ => false,
        }
    }

    /// Numbers of the group's counter that the command uses up, whatever becomes of it.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let opened = |layout: &Option<Layout>, epoch: Option<FileEpoch>| {
            layout
                .as_ref()
                .map(|layout| layout.data.0)
                .into_iter()
                .chain(epoch.map(|epoch| epoch.0))
        };
        let cut = |set: &SetAttr| set.size.and_then(|size| size.epoch).map(|it| it.0).into_iter();
        match &self.action {
            Action::OpenSession(open) => vec![open.session.0],
            Action::EndSession(end) => vec![end.epoch.0],
            Action::CreateSets(sets) => {
                sets.iter().flat_map(|set| [set.set.0, set.epoch.0]).collect()
            }
            Action::Mknod(mknod) => vec![mknod.ino.0],
            Action::Mkdir(mkdir) => vec![mkdir.ino.0],
            Action::Symlink(symlink) => vec![symlink.ino.0],
            Action::EndAppend(end) => end.epoch.map(|epoch| epoch.0).into_iter().collect(),
            Action::SetAttr(set) => cut(set).collect(),
            Action::GiveSetIds(give) => cut(&give.set).chain([give.epoch.0]).collect(),
            Action::Settle(settle) => settle.fence.map(|epoch| epoch.0).into_iter().collect(),
            Action::Create(create) => {
                [create.ino.0].into_iter().chain(opened(&create.layout, create.epoch)).collect()
            }
            Action::Open(open) => opened(&open.layout, open.epoch).collect(),
            Action::Nothing
            | Action::Reserve(_)
            | Action::CreateVolume(_)
            | Action::DeleteVolume(_)
            | Action::SetVolume(_)
            | Action::PurgeVolume
            | Action::Link(_)
            | Action::Unlink(_)
            | Action::Rmdir(_)
            | Action::Rename(_)
            | Action::SetXattr(_)
            | Action::RemoveXattr(_)
            | Action::SetDefaultLayout(_)
            | Action::Close(_)
            | Action::Report(_)
            | Action::Read(_)
            | Action::BeginDelete(_)
            | Action::FinishDelete(_)
            | Action::ForgetNeverUsed(_)
            | Action::Lock(_)
            | Action::BeginAppend(_) => Vec::new(),
        }
    }
}
