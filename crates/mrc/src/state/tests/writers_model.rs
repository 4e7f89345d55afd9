//! Random writers, truncations, deaths and silent columns: what `stat` says is what was written last.

use proptest::prelude::*;

use super::*;
use xtfs_core::Floor;

const FILES: usize = 2;
const SESSIONS: usize = 3;
const COLUMNS: usize = 2;

/// A column at its OSD, its length told as a size of the file.
#[derive(Clone, Copy, Debug)]
struct Column {
    epoch: FileEpoch,
    len: u64,
}

impl Column {
    /// R7.
    fn seal(&mut self, epoch: FileEpoch, floor: Floor) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.len = self.len.min(floor.0);
        }
    }
}

/// What a client knows of a file that it has open for writing.
#[derive(Clone, Copy, Debug)]
struct Handle {
    epoch: FileEpoch,
    floor: Floor,
    wrote: Option<(FileEpoch, u64)>,
}

struct File {
    ino: Ino,
    /// The size that an application must see.
    truth: u64,
    columns: [Column; COLUMNS],
    handles: [Option<Handle>; SESSIONS],
}

struct Cluster {
    world: World,
    sessions: Vec<SessionId>,
    files: Vec<File>,
    up: [bool; COLUMNS],
}

#[derive(Clone, Debug)]
enum Op {
    Open { session: usize, file: usize },
    Write { session: usize, file: usize, column: usize, end: u64 },
    Close { session: usize, file: usize },
    Truncate { file: usize, size: u64 },
    Die { session: usize },
    Work { file: usize },
    Switch { column: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (session, file, column) = (0..SESSIONS, 0..FILES, 0..COLUMNS);
    let op = prop_oneof![
        4 => (session.clone(), file.clone()).prop_map(|(session, file)| Op::Open { session, file }),
        6 => (session.clone(), file.clone(), column.clone(), 1..100u64)
            .prop_map(|(session, file, column, end)| Op::Write { session, file, column, end }),
        3 => (session.clone(), file.clone()).prop_map(|(session, file)| Op::Close { session, file }),
        2 => (file.clone(), 0..100u64).prop_map(|(file, size)| Op::Truncate { file, size }),
        1 => session.prop_map(|session| Op::Die { session }),
        2 => file.prop_map(|file| Op::Work { file }),
        1 => column.prop_map(|column| Op::Switch { column }),
    ];
    proptest::collection::vec(op, 1..80)
}

impl Cluster {
    fn new() -> Self {
        let mut world = World::new();
        let sessions =
            (0..SESSIONS).map(|_| world.open_session(ClientId::generate()).unwrap()).collect();
        let file = |index: usize| {
            let ino = world.mknod(Ino::ROOT, &format!("f{index}")).unwrap();
            let column = Column { epoch: FileEpoch(0), len: 0 };
            File { ino, truth: 0, columns: [column; COLUMNS], handles: [None; SESSIONS] }
        };
        let files = (0..FILES).map(file).collect();
        Cluster { world, sessions, files, up: [true; COLUMNS] }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Open { session, file } => self.open(session, file),
            Op::Write { session, file, column, end } => self.write(session, file, column, end),
            Op::Close { session, file } => self.close(session, file),
            Op::Truncate { file, size } => self.truncate(file, size),
            Op::Die { session } => self.die(session),
            Op::Work { file } => self.work(file),
            Op::Switch { column } => self.switch(column),
        }
    }

    fn open(&mut self, session: usize, file: usize) {
        let (ino, id) = (self.files[file].ino, self.sessions[session]);
        if self.files[file].handles[session].is_some() {
            return;
        }
        match self.world.as_session(id, |world| world.open(ino, WRITE)) {
            Ok(Opened { inode, .. }) => {
                let (epoch, floor) = (inode.file_epoch, inode.floor);
                self.files[file].handles[session] = Some(Handle { epoch, floor, wrote: None });
            }
            Err(undecided) => assert!(undecided.is_retryable(), "{undecided}"),
        }
    }

    fn write(&mut self, session: usize, file: usize, column: usize, end: u64) {
        let id = self.sessions[session];
        let File { ino, truth, columns, handles } = &mut self.files[file];
        let Some(handle) = &mut handles[session] else { return };
        let column_of = &mut columns[column];
        if !self.up[column] {
            return;
        }
        if handle.epoch < column_of.epoch {
            // Refused with StaleFileEpoch: the client renews and sends again.
            let renewed = self.world.vol().opened(id, *ino, true).unwrap().inode;
            (handle.epoch, handle.floor) = (renewed.file_epoch, renewed.floor);
        }
        column_of.seal(handle.epoch, handle.floor);
        column_of.len = column_of.len.max(end);
        *truth = (*truth).max(end);
        let so_far = handle.wrote.filter(|(epoch, _)| *epoch == handle.epoch);
        let farthest = so_far.map_or(end, |(_, farthest)| farthest.max(end));
        handle.wrote = Some((handle.epoch, farthest));
    }

    fn close(&mut self, session: usize, file: usize) {
        let (ino, id) = (self.files[file].ino, self.sessions[session]);
        let Some(handle) = self.files[file].handles[session].take() else { return };
        let mtime = Timestamp(self.world.now);
        let report = handle.wrote.map(|(file_epoch, end)| WriteReport {
            file_epoch,
            end,
            mtime,
            allocated: Vec::new(),
        });
        self.world.as_session(id, |world| world.close(ino, true, report)).unwrap();
    }

    fn truncate(&mut self, file: usize, size: u64) {
        match self.world.truncate(self.files[file].ino, size) {
            Ok(_) => {
                self.files[file].truth = size;
                self.seal(file);
            }
            Err(undecided) => assert!(undecided.is_retryable(), "{undecided}"),
        }
    }

    /// Tells the columns that answer. Whether all did.
    fn seal(&mut self, file: usize) -> bool {
        let inode = self.world.inode(self.files[file].ino);
        if !self.world.vol().pending(inode.ino).unwrap().seal {
            return true;
        }
        for (column, up) in self.files[file].columns.iter_mut().zip(self.up) {
            if up {
                column.seal(inode.file_epoch, inode.floor);
            }
        }
        let all = self.up.iter().all(|up| *up);
        if all {
            let sealed = self.world.settlement(inode.ino, true, None);
            self.world.settle_with(sealed);
        }
        all
    }

    fn die(&mut self, session: usize) {
        self.world.end_session(self.sessions[session]).unwrap();
        for file in &mut self.files {
            file.handles[session] = None;
        }
        self.sessions[session] = self.world.open_session(ClientId::generate()).unwrap();
    }

    fn work(&mut self, file: usize) {
        let all_sealed = self.seal(file);
        let ino = self.files[file].ino;
        if all_sealed && self.up.iter().all(|up| *up) {
            let size = self.columns_size(file);
            self.world.settle(ino, true, Some(size));
        }
    }

    fn columns_size(&self, file: usize) -> u64 {
        self.files[file].columns.iter().map(|column| column.len).max().unwrap()
    }

    /// A target that comes back is sealed before it serves.
    fn switch(&mut self, column: usize) {
        self.up[column] = !self.up[column];
        for file in 0..FILES {
            self.seal(file);
        }
    }

    /// R2, where all columns answer.
    fn check(&self) {
        for (index, file) in self.files.iter().enumerate() {
            let inode = self.world.inode(file.ino);
            let pending = self.world.vol().pending(file.ino).unwrap();
            let writers = file.handles.iter().flatten().count();
            assert_eq!(inode.writing, writers > 0 || pending.settle, "{inode:?} {pending:?}");
            assert!(!pending.dead_writer || pending.settle);
            assert_eq!(inode.floor != Floor::NONE, pending.seal && inode.floor != Floor::NONE);
            if pending.seal || self.up.contains(&false) {
                continue;
            }
            let size = self.columns_size(index);
            let columns = ColumnsState { size, mtime: None, allocated: Vec::new() };
            let seen = if inode.writing { inode.with_columns(&columns) } else { inode };
            assert_eq!(seen.size, file.truth, "{seen:?} {pending:?}");
        }
        let usage = self.world.vol().usage().unwrap();
        let sizes: u64 = self.files.iter().map(|file| self.world.inode(file.ino).size).sum();
        assert_eq!((usage.files, usage.bytes), (FILES as u64, sizes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_size_is_what_was_written_last_whoever_died(ops in ops()) {
        let mut cluster = Cluster::new();
        for op in &ops {
            cluster.step(op);
            cluster.check();
        }
        cluster.up = [true; COLUMNS];
        for file in 0..FILES {
            for session in 0..SESSIONS {
                cluster.close(session, file);
            }
            cluster.work(file);
            let inode = cluster.world.inode(cluster.files[file].ino);
            prop_assert!(!inode.writing && !inode.dirty && inode.floor == Floor::NONE);
            prop_assert!(cluster.world.vol().pending(inode.ino).unwrap().is_empty());
            prop_assert!(!cluster.world.vol().is_held(inode.ino).unwrap());
            prop_assert_eq!(inode.size, cluster.files[file].truth);
        }
    }
}
