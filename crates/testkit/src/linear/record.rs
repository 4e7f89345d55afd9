//! Random calls of several threads, and when each began and ended.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::history::{CELL, CELLS_MAX, Call, History, How, Ino, Op, Outcome, Place, Tag};

pub(super) const DIRS: u8 = 2;
const NAMES: u8 = 3;
/// Files that a thread has open at most.
const HELD: usize = 2;
/// A file that is longer is emptied instead of appended to, so that it stays in one block whatever the others append.
const APPENDED_MAX: usize = CELLS_MAX / 2;
const WRITTEN_MAX: usize = 4;
const AT_MAX: usize = 12;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For the report.
    pub mount: usize,
    /// Nobody else of the history may have these.
    pub first_thread: u32,
    pub threads: u32,
    pub calls_each: usize,
    pub seed: u64,
    pub mix: Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    All,
    /// Files stay empty.
    Names,
}

impl Mix {
    pub const ALL: [Mix; 2] = [Mix::All, Mix::Names];

    pub fn name(self) -> &'static str {
        match self {
            Mix::All => "all",
            Mix::Names => "names",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Mix::ALL.into_iter().find(|mix| mix.name() == name)
    }
}

/// Whoever can be called.
pub(super) trait System: Sync {
    type File: Send;

    fn open(&self, at: Place, how: How, append: bool) -> Result<Self::File, Errno>;

    fn ino(&self, file: &Self::File) -> Result<Ino, Errno>;

    /// Anything but opening. `file`: what the call is made on, if it names none.
    fn call(&self, op: &Op, file: Option<&Self::File>) -> Result<Outcome, Errno>;
}

/// Ends when all threads have made their calls, or when the client has died. `done` is called after each call.
#[expect(private_bounds, reason = "Kernel is the one that others have")]
pub fn record<S: System>(system: &S, plan: &Plan, done: impl Fn() + Sync) -> History {
    let done = &done;
    let calls = std::thread::scope(|scope| {
        let threads = plan.first_thread..plan.first_thread + plan.threads;
        let start = |thread: u32| {
            let worker = Worker {
                system,
                mount: plan.mount,
                mix: plan.mix,
                thread,
                random: StdRng::seed_from_u64(plan.seed ^ u64::from(thread) << 32),
                calls: Vec::new(),
                writes: 0,
                held: [const { None }; HELD],
            };
            scope.spawn(move || worker.run(plan.calls_each, done))
        };
        let threads: Vec<_> = threads.map(start).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    History { calls }
}

struct Held<F> {
    file: F,
    ino: Ino,
    append: bool,
}

struct Worker<'a, S: System> {
    system: &'a S,
    mount: usize,
    mix: Mix,
    thread: u32,
    random: StdRng,
    calls: Vec<Call>,
    writes: u32,
    held: [Option<Held<S::File>>; HELD],
}

/// The client was killed.
struct CutOff;

impl<S: System> Worker<'_, S> {
    fn run(mut self, calls: usize, done: &(impl Fn() + Sync)) -> Vec<Call> {
        let mut told = 0;
        while self.calls.len() < calls && self.step().is_ok() {
            (told..self.calls.len()).for_each(|_| done());
            told = self.calls.len();
        }
        self.calls
    }

    fn step(&mut self) -> Result<(), CutOff> {
        let slot = self.random.random_range(0..HELD);
        let place = self.place();
        let first = match self.mix {
            Mix::All => 0,
            // From 52 on there are looks at what is open, too: the kernel may still show a link too many of a file that its
            // mount has removed at a name to which another has just moved it.
            Mix::Names => 59,
        };
        match self.random.random_range(first..100) {
            0..12 => self.with_opened(place, How::Read, false, Self::read),
            12..16 => self.with_opened(place, How::Write, true, Self::write),
            16..29 => self.with_held(slot, Self::read),
            29..47 => self.with_held(slot, Self::write),
            47..52 => self.with_held(slot, |worker, held| {
                let size = worker.random.random_range(0..AT_MAX);
                worker.cut(held, size)
            }),
            52..59 => self.with_held(slot, |worker, held| worker.status(held).map(drop)),
            59..62 => self.with_held(slot, |worker, held| {
                worker.make(Op::Link { ino: held.ino, to: place }, Some(&held.file)).map(drop)
            }),
            62..70 => self.hold(slot, place),
            70..79 => self.make(Op::Stat { at: place }, None).map(drop),
            79..83 => self.make(Op::Unlink { at: place }, None).map(drop),
            83..90 => {
                let to = self.place();
                self.make(Op::Rename { from: place, to }, None).map(drop)
            }
            _ => self.make(Op::List { dir: place.dir }, None).map(drop),
        }
    }

    fn place(&mut self) -> Place {
        let dir = self.random.random_range(0..DIRS);
        Place { dir, name: self.random.random_range(0..NAMES) }
    }

    fn with_opened(
        &mut self,
        at: Place,
        how: How,
        append: bool,
        act: impl FnOnce(&mut Self, &Held<S::File>) -> Result<(), CutOff>,
    ) -> Result<(), CutOff> {
        match self.open(at, how, append)? {
            Some(opened) => act(self, &opened),
            None => Ok(()),
        }
    }

    fn with_held(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Self, &Held<S::File>) -> Result<(), CutOff>,
    ) -> Result<(), CutOff> {
        let Some(held) = self.held[slot].take() else {
            let place = self.place();
            return self.hold(slot, place);
        };
        let done = act(self, &held);
        self.held[slot] = Some(held);
        done
    }

    fn hold(&mut self, slot: usize, at: Place) -> Result<(), CutOff> {
        const HOWS: [How; 6] =
            [How::Write, How::Write, How::Create, How::Create, How::Exclusive, How::Truncate];
        let how = HOWS[self.random.random_range(0..HOWS.len())];
        let append = self.random.random_bool(0.3);
        self.held[slot] = self.open(at, how, append)?;
        Ok(())
    }

    fn open(&mut self, at: Place, how: How, append: bool) -> Result<Option<Held<S::File>>, CutOff> {
        let start = now();
        let opened = self.system.open(at, how, append);
        let end = now();
        // The number of an open file never changes.
        let opened = opened.and_then(|file| Ok((self.system.ino(&file)?, file)));
        let (outcome, held) = match opened {
            Ok((ino, file)) => (Ok(Outcome::Opened(ino)), Some(Held { file, ino, append })),
            Err(errno) => (Err(errno), None),
        };
        self.note(start, end, Op::Open { at, how, append }, outcome)?;
        Ok(held)
    }

    fn read(&mut self, held: &Held<S::File>) -> Result<(), CutOff> {
        self.make(Op::Read { ino: held.ino }, Some(&held.file)).map(drop)
    }

    fn write(&mut self, held: &Held<S::File>) -> Result<(), CutOff> {
        let len = self.random.random_range(1..=WRITTEN_MAX);
        self.writes += 1;
        let (ino, tag) = (held.ino, self.thread << 16 | self.writes);
        let op = if held.append {
            let status = self.status(held)?;
            if matches!(status, Outcome::Status { size, .. } if size > (APPENDED_MAX * CELL) as u64)
            {
                self.cut(held, 0)?;
            }
            Op::Append { ino, len, tag }
        } else {
            Op::Write { ino, at: self.random.random_range(0..AT_MAX), len, tag }
        };
        self.make(op, Some(&held.file)).map(drop)
    }

    fn status(&mut self, held: &Held<S::File>) -> Result<Outcome, CutOff> {
        self.make(Op::StatOpen { ino: held.ino }, Some(&held.file))
    }

    fn cut(&mut self, held: &Held<S::File>, size: usize) -> Result<(), CutOff> {
        self.make(Op::Cut { ino: held.ino, size }, Some(&held.file)).map(drop)
    }

    fn make(&mut self, op: Op, file: Option<&S::File>) -> Result<Outcome, CutOff> {
        let start = now();
        let outcome = self.system.call(&op, file);
        self.note(start, now(), op, outcome)
    }

    fn note(
        &mut self,
        start: u64,
        end: u64,
        op: Op,
        outcome: Result<Outcome, Errno>,
    ) -> Result<Outcome, CutOff> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Errno::NOTCONN | Errno::CONNABORTED) => Outcome::CutOff,
            Err(errno) => Outcome::Failed(errno.raw_os_error()),
        };
        let (mount, thread) = (self.mount, self.thread);
        self.calls.push(Call { mount, thread, start, end, op, outcome: outcome.clone() });
        if outcome == Outcome::CutOff { Err(CutOff) } else { Ok(outcome) }
    }
}

/// As the writer of these cells fills them.
pub(super) fn filled(len: usize, tag: Tag) -> Vec<u8> {
    tag.to_le_bytes().repeat(len * CELL / size_of::<Tag>())
}

/// Whose cells they are.
pub(super) fn writers(bytes: &[u8]) -> Outcome {
    let cells = bytes.chunks(CELL).map(|cell| {
        let (tag, rest) = cell.split_first_chunk()?;
        let whole = cell.len() == CELL && rest.chunks(size_of::<Tag>()).all(|other| other == tag);
        whole.then(|| Tag::from_le_bytes(*tag))
    });
    match cells.collect() {
        Some(cells) => Outcome::Cells(cells),
        None => Outcome::Odd(format!("torn within a cell: {bytes:?}")),
    }
}

pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Both are positive, and it counts from the start of the machine.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_tell_who_wrote_them() {
        let mut bytes = filled(2, 7);
        bytes.extend(filled(1, 0x0102_0304));
        assert_eq!(writers(&bytes), Outcome::Cells(vec![7, 7, 0x0102_0304]));
        bytes.pop();
        assert!(matches!(writers(&bytes), Outcome::Odd(_)));
        bytes.push(0);
        assert!(matches!(writers(&bytes), Outcome::Odd(_)));
        assert_eq!(writers(&[]), Outcome::Cells(Vec::new()));
    }
}
