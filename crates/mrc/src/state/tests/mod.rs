//! The state machine over a store in memory. A test's name is the rule that it holds up.

mod acls;
mod append;
mod attributes;
mod golden;
mod listing;
mod locks;
mod model;
mod namespace;
mod numbers;
mod open_files;
mod sessions;
mod volumes;
mod writers_model;
mod xattrs;

use xtfs_core::access::Identity;
use xtfs_core::{
    ClientId, DataNumber, DataVersion, Error, FileEpoch, GroupId, Ino, ReplicaSetId, RequestNumber,
    Result, SessionId, StripeLayout, Timestamp, VolumeId,
};
use xtfs_kv::{Durability, KeyRange, Kv, MemKv, Pair, Read, Transaction};

use super::command::*;
use super::inode::*;
use super::machine::MrcState;
use super::view::{View, VolumeView};
use super::volume::{Atime, VolumePolicy};

const GROUP: GroupId = GroupId(1);
const RESERVED: u64 = 100_000;

/// A group with one volume and one session, in which root acts unless told otherwise.
struct World {
    kv: MemKv,
    state: MrcState,
    now: i64,
    number: u64,
    volume: VolumeId,
    session: SessionId,
    request: u64,
    caller: Identity,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            kv: MemKv::default(),
            state: MrcState::new(GROUP),
            now: 1_000,
            number: 0,
            volume: VolumeId(0),
            session: SessionId(0),
            request: 0,
            caller: Identity::ROOT,
        };
        let reserve = Action::Reserve(Reserve { count: RESERVED, restart: true });
        let Answer::Reserved(range) = world.internal(reserve).unwrap() else { panic!() };
        world.number = range.start;
        world.volume = world.create_volume("vol").unwrap();
        world.session = world.open_session(ClientId::generate()).unwrap();
        world
    }

    fn take(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    fn policy() -> VolumePolicy {
        VolumePolicy {
            layout: StripeLayout::new(128 << 10, 2).unwrap(),
            chown_non_root: false,
            root_squash: false,
            atime: Atime::Relatime,
        }
    }

    fn create_volume(&mut self, name: &str) -> Result<VolumeId> {
        let policy = World::policy();
        let create = CreateVolume { name: name.into(), policy, mode: 0o777, uid: 0, gid: 0 };
        // No DIR gives ids here: the group counts.
        let before = std::mem::take(&mut self.volume);
        let created = self.internal(Action::CreateVolume(create));
        self.volume = before;
        match created? {
            Answer::Volume(volume) => Ok(volume.id),
            other => panic!("{other:?}"),
        }
    }

    fn open_session(&mut self, client: ClientId) -> Result<SessionId> {
        let session = SessionId(self.take());
        let open = OpenSession { session, client, description: "test".into() };
        match self.internal(Action::OpenSession(open))? {
            Answer::Session(session) => Ok(session.session),
            other => panic!("{other:?}"),
        }
    }

    fn end_session(&mut self, session: SessionId) -> Reply {
        let epoch = FileEpoch(self.take());
        self.internal(Action::EndSession(EndSession { session, epoch }))
    }

    /// As the other session that is given, for one action.
    fn as_session<T>(&mut self, session: SessionId, act: impl FnOnce(&mut World) -> T) -> T {
        let own = std::mem::replace(&mut self.session, session);
        let done = act(self);
        self.session = own;
        done
    }

    /// As another user, for one action.
    fn as_user<T>(&mut self, uid: u32, gid: u32, act: impl FnOnce(&mut World) -> T) -> T {
        let user = Identity { uid, gid, groups: Vec::new() };
        let own = std::mem::replace(&mut self.caller, user);
        let done = act(self);
        self.caller = own;
        done
    }

    /// What a worker or an operator does.
    fn internal(&mut self, action: Action) -> Reply {
        let command = self.command(action, None);
        self.apply(command)
    }

    /// What a client does.
    fn run(&mut self, action: Action) -> Reply {
        self.request += 1;
        let origin = Origin {
            session: self.session,
            number: RequestNumber(self.request),
            lowest_unanswered: RequestNumber(self.request.saturating_sub(50).max(1)),
        };
        let command = self.command(action, Some(origin));
        self.apply(command)
    }

    fn command(&mut self, action: Action, origin: Option<Origin>) -> Command {
        self.now += 1;
        Command {
            now: Timestamp(self.now),
            caller: self.caller.clone(),
            origin,
            volume: self.volume,
            action,
        }
    }

    fn apply(&self, command: Command) -> Reply {
        apply_to(&self.kv, &self.state, command)
    }

    fn view(&self) -> View<'_> {
        View::new(&self.kv, GROUP)
    }

    fn vol(&self) -> VolumeView<'_> {
        self.view().volume(self.volume).unwrap()
    }

    #[track_caller]
    fn inode(&self, ino: Ino) -> Inode {
        self.vol().inode(ino).unwrap()
    }

    fn mkdir(&mut self, parent: Ino, name: &str) -> Result<Ino> {
        self.mkdir_mode(parent, name, 0o777)
    }

    fn mkdir_mode(&mut self, parent: Ino, name: &str, mode: u32) -> Result<Ino> {
        let ino = Ino(self.take());
        let mkdir = Mkdir { parent, name: name.into(), mode, umask: 0, ino };
        self.run(Action::Mkdir(mkdir)).map(|_| ino)
    }

    fn mknod(&mut self, parent: Ino, name: &str) -> Result<Ino> {
        self.mknod_of(parent, name, FileKind::File, 0o666)
    }

    fn mknod_of(&mut self, parent: Ino, name: &str, kind: FileKind, mode: u32) -> Result<Ino> {
        let ino = Ino(self.take());
        let name = name.as_bytes().to_vec();
        let mknod = Mknod { parent, name, kind, mode, umask: 0, rdev: 7, ino };
        self.run(Action::Mknod(mknod)).map(|_| ino)
    }

    fn symlink(&mut self, parent: Ino, name: &str, target: &str) -> Result<Ino> {
        let ino = Ino(self.take());
        let symlink = Symlink { parent, name: name.into(), target: target.into(), ino };
        self.run(Action::Symlink(symlink)).map(|_| ino)
    }

    fn link(&mut self, ino: Ino, parent: Ino, name: &str) -> Result<()> {
        self.run(Action::Link(Link { ino, parent, name: name.into() })).map(drop)
    }

    fn unlink(&mut self, parent: Ino, name: &str) -> Result<()> {
        self.run(Action::Unlink(Unlink { parent, name: name.into() })).map(drop)
    }

    fn rmdir(&mut self, parent: Ino, name: &str) -> Result<()> {
        self.run(Action::Rmdir(Unlink { parent, name: name.into() })).map(drop)
    }

    fn rename(&mut self, from: (Ino, &str), to: (Ino, &str), mode: RenameMode) -> Result<()> {
        let rename = Rename {
            parent: from.0,
            name: from.1.into(),
            new_parent: to.0,
            new_name: to.1.into(),
            mode,
        };
        self.run(Action::Rename(rename)).map(drop)
    }

    fn mv(&mut self, from: (Ino, &str), to: (Ino, &str)) -> Result<()> {
        self.rename(from, to, RenameMode::Replace)
    }

    fn layout(&mut self) -> Layout {
        Layout {
            striping: StripeLayout::new(128 << 10, 2).unwrap(),
            data: DataNumber(self.take()),
            version: DataVersion(0),
            sets: vec![ReplicaSetId(1), ReplicaSetId(2)],
        }
    }

    fn create(&mut self, parent: Ino, name: &str, mode: u32, open: OpenMode) -> Result<Opened> {
        let ino = Ino(self.take());
        let layout = Some(self.layout());
        let name = name.into();
        let create = Create {
            parent,
            name,
            mode,
            umask: 0o022,
            exclusive: false,
            open,
            ino,
            layout,
            epoch: None,
        };
        self.run(Action::Create(create)).map(opened)
    }

    /// A file that is open for writing.
    fn writing(&mut self, name: &str) -> Ino {
        self.create(Ino::ROOT, name, 0o666, WRITE).unwrap().inode.ino
    }

    /// A file of `size` bytes that nobody has open.
    fn written(&mut self, name: &str, size: u64) -> Ino {
        let ino = self.writing(name);
        let report = self.report(ino, size);
        self.close(ino, true, Some(report)).unwrap();
        ino
    }

    fn open(&mut self, ino: Ino, open: OpenMode) -> Result<Opened> {
        let layout = Some(self.layout());
        let epoch = open.truncate && self.inode(ino).resize_needs_epoch(0);
        let epoch = epoch.then(|| FileEpoch(self.take()));
        self.run(Action::Open(Open { ino, open, layout, epoch })).map(opened)
    }

    fn report(&self, ino: Ino, end: u64) -> WriteReport {
        WriteReport {
            file_epoch: self.inode(ino).file_epoch,
            end,
            mtime: Timestamp(self.now),
            allocated: Vec::new(),
        }
    }

    fn close(&mut self, ino: Ino, write: bool, report: Option<WriteReport>) -> Result<()> {
        self.run(Action::Close(vec![Close { ino, write, report }])).map(drop)
    }

    fn set(&mut self, set: SetAttr) -> Result<Inode> {
        match self.run(Action::SetAttr(set))? {
            Answer::Inode(inode) => Ok(*inode),
            other => panic!("{other:?}"),
        }
    }

    fn truncate(&mut self, ino: Ino, size: u64) -> Result<Inode> {
        let epoch = self.inode(ino).resize_needs_epoch(size).then(|| FileEpoch(self.take()));
        self.set(SetAttr { size: Some(Resize { size, epoch }), ..set_of(ino) })
    }

    /// Tells that all columns were sealed and asked.
    fn settle(&mut self, ino: Ino, sealed: bool, columns: Option<u64>) -> bool {
        let settle = self.settlement(ino, sealed, columns);
        self.settle_with(settle)
    }

    fn settlement(&self, ino: Ino, sealed: bool, columns: Option<u64>) -> Settle {
        let inode = self.inode(ino);
        let columns =
            columns.map(|size| ColumnsState { size, mtime: None, allocated: vec![size, 0] });
        let fence = self.vol().pending(ino).unwrap().fence.then_some(FileEpoch(self.number));
        Settle { ino, file_epoch: inode.file_epoch, round: inode.round, sealed, columns, fence }
    }

    fn settle_with(&mut self, settle: Settle) -> bool {
        if settle.fence.is_some() {
            self.take();
        }
        match self.internal(Action::Settle(settle)).unwrap() {
            Answer::Settled(settled) => settled,
            other => panic!("{other:?}"),
        }
    }

    fn begin_delete(&mut self, ino: Ino) -> Vec<Ino> {
        match self.internal(Action::BeginDelete(vec![ino])).unwrap() {
            Answer::Deleting(inos) => inos,
            other => panic!("{other:?}"),
        }
    }

    fn lookup(&self, parent: Ino, name: &str) -> Result<Inode> {
        self.vol().lookup(&self.caller, parent, name.as_bytes())
    }

    fn dump(&self) -> Vec<Pair> {
        dump(&self.kv)
    }
}

const READ: OpenMode = OpenMode { read: true, write: false, execute: false, truncate: false };
const WRITE: OpenMode = OpenMode { read: true, write: true, execute: false, truncate: false };

fn apply_to(kv: &MemKv, state: &MrcState, command: Command) -> Reply {
    let mut tx = Transaction::new(kv);
    let reply = state.apply(command, &mut tx).expect("a store in memory can be read");
    kv.write(tx.into_batch(), Durability::Process).unwrap();
    reply
}

fn dump(kv: &MemKv) -> Vec<Pair> {
    kv.scan(&KeyRange::prefix(b""), usize::MAX).unwrap()
}

fn opened(answer: Answer) -> Opened {
    match answer {
        Answer::Opened(opened) => *opened,
        other => panic!("{other:?}"),
    }
}

fn set_of(ino: Ino) -> SetAttr {
    SetAttr {
        ino,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: None,
        mtime: None,
        by_handle: false,
        kill_set_ids: false,
        columns_mtime: None,
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, expected: &Error) {
    let refusal = result.expect_err("refused");
    let same = std::mem::discriminant(&refusal) == std::mem::discriminant(expected);
    assert!(same, "{refusal:?} instead of {expected:?}");
}
