//! As much of an NFS 4.0 client as it takes to use files by their handles alone, over days and restarts, as kernels do.
//!
//! Requests carry the anonymous state id, so that nothing is opened, and no state of the server's is needed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Of the program NFS, version 4, its one procedure.
const COMPOUND: [u32; 3] = [100_003, 4, 1];
/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const FILE_SYNC: u32 = 2;
pub const NOENT: u32 = 2;
pub const STALE: u32 = 70;

/// Numbers of operations in RFC 7530.
mod operation {
    pub(super) const GET_HANDLE: u32 = 10;
    pub(super) const LOOKUP: u32 = 15;
    pub(super) const PUT_HANDLE: u32 = 22;
    pub(super) const PUT_ROOT: u32 = 24;
    pub(super) const READ: u32 = 25;
    pub(super) const REMOVE: u32 = 28;
    pub(super) const RENAME: u32 = 29;
    pub(super) const SAVE_HANDLE: u32 = 32;
    pub(super) const WRITE: u32 = 38;
}

/// A file, as the server calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsHandle(Vec<u8>);

/// What the server answers instead of success, of RFC 7530.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u32);

#[derive(Debug)]
pub struct NfsClient {
    stream: TcpStream,
    request: u32,
}

/// Operations of one request, in XDR.
#[derive(Default)]
struct Compound {
    operations: u32,
    bytes: Vec<u8>,
}

impl Compound {
    fn operation(mut self, number: u32) -> Self {
        self.operations += 1;
        self.number(number)
    }

    fn number(mut self, number: u32) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self
    }

    fn long(mut self, number: u64) -> Self {
        self.bytes.extend(number.to_be_bytes());
        self
    }

    fn opaque(self, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("short");
        let mut with = self.number(len);
        with.bytes.extend(bytes);
        with.bytes.resize(with.bytes.len().next_multiple_of(4), 0);
        with
    }

    fn at(self, handle: &NfsHandle) -> Self {
        self.operation(operation::PUT_HANDLE).opaque(&handle.0)
    }

    fn anonymous(self) -> Self {
        self.long(0).long(0)
    }
}

/// What is left of an answer.
struct Answer(io::Cursor<Vec<u8>>);

impl Answer {
    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn opaque(&mut self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.number()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len.next_multiple_of(4)];
        self.0.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Head of the answer to the next operation.
    fn done(&mut self, number: u32) -> io::Result<Result<(), Refusal>> {
        let (answered, status) = (self.number()?, self.number()?);
        if answered != number {
            return Err(io::Error::other(format!("operation {answered} for {number}")));
        }
        Ok(if status == 0 { Ok(()) } else { Err(Refusal(status)) })
    }
}

type Answered<T> = io::Result<Result<T, Refusal>>;

/// Passes a refusal on, within `Answered`.
macro_rules! accepted {
    ($answered:expr) => {
        match $answered? {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}

impl NfsClient {
    pub fn connect(server: SocketAddr) -> io::Result<NfsClient> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(NfsClient { stream, request: 0 })
    }

    /// Handle of the file with this path below the server's root.
    pub fn look_up(&mut self, path: &str) -> Answered<NfsHandle> {
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        let root = Compound::default().operation(operation::PUT_ROOT);
        let compound = names.iter().fold(root, |compound, name| {
            compound.operation(operation::LOOKUP).opaque(name.as_bytes())
        });
        let mut answer = self.ask(&compound.operation(operation::GET_HANDLE))?;
        accepted!(answer.done(operation::PUT_ROOT));
        for _ in names {
            accepted!(answer.done(operation::LOOKUP));
        }
        accepted!(answer.done(operation::GET_HANDLE));
        Ok(Ok(NfsHandle(answer.opaque()?)))
    }

    /// At most `len` bytes from `offset`.
    pub fn read(&mut self, file: &NfsHandle, offset: u64, len: u32) -> Answered<Vec<u8>> {
        let compound = Compound::default().at(file).operation(operation::READ);
        let mut answer = self.ask(&compound.anonymous().long(offset).number(len))?;
        accepted!(answer.done(operation::PUT_HANDLE));
        accepted!(answer.done(operation::READ));
        let _end = answer.number()?;
        Ok(Ok(answer.opaque()?))
    }

    /// Returns how much was written, to the disk.
    pub fn write(&mut self, file: &NfsHandle, offset: u64, data: &[u8]) -> Answered<u32> {
        let compound = Compound::default().at(file).operation(operation::WRITE);
        let compound = compound.anonymous().long(offset).number(FILE_SYNC).opaque(data);
        let mut answer = self.ask(&compound)?;
        accepted!(answer.done(operation::PUT_HANDLE));
        accepted!(answer.done(operation::WRITE));
        Ok(Ok(answer.number()?))
    }

    pub fn rename(
        &mut self,
        (from, name): (&NfsHandle, &str),
        (to, new_name): (&NfsHandle, &str),
    ) -> Answered<()> {
        let compound = Compound::default().at(from).operation(operation::SAVE_HANDLE).at(to);
        let compound = compound.operation(operation::RENAME);
        let mut answer = self.ask(&compound.opaque(name.as_bytes()).opaque(new_name.as_bytes()))?;
        accepted!(answer.done(operation::PUT_HANDLE));
        accepted!(answer.done(operation::SAVE_HANDLE));
        accepted!(answer.done(operation::PUT_HANDLE));
        answer.done(operation::RENAME)
    }

    pub fn remove(&mut self, folder: &NfsHandle, name: &str) -> Answered<()> {
        let compound = Compound::default().at(folder).operation(operation::REMOVE);
        let mut answer = self.ask(&compound.opaque(name.as_bytes()))?;
        accepted!(answer.done(operation::PUT_HANDLE));
        answer.done(operation::REMOVE)
    }

    /// Sends it as root, and returns what the operations answered.
    fn ask(&mut self, compound: &Compound) -> io::Result<Answer> {
        self.request += 1;
        let [program, version, procedure] = COMPOUND;
        let identity = Compound::default().number(0).opaque(b"test").number(0).number(0).number(0);
        let call = Compound::default().number(self.request).number(0).number(2);
        let call = call.number(program).number(version).number(procedure);
        // AUTH_SYS, no verifier; no tag, minor version zero.
        let call = call.number(1).opaque(&identity.bytes).number(0).number(0);
        let mut call = call.opaque(b"").number(0).number(compound.operations).bytes;
        call.extend(&compound.bytes);
        let len = u32::try_from(call.len()).map_err(io::Error::other)?;
        self.stream.write_all(&[&(len | LAST_FRAGMENT).to_be_bytes()[..], &call].concat())?;
        let mut answer = Answer(io::Cursor::new(self.receive()?));
        let (request, _reply, denied) = (answer.number()?, answer.number()?, answer.number()?);
        let (_verifier, _) = (answer.number()?, answer.opaque()?);
        let failed = answer.number()?;
        if request != self.request || denied != 0 || failed != 0 {
            let what = format!("answer to {request} of {}, {denied}, {failed}", self.request);
            return Err(io::Error::other(what));
        }
        // Status of the whole, tag, count: each operation has its own status.
        let (_status, _tag, _count) = (answer.number()?, answer.opaque()?, answer.number()?);
        Ok(answer)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head)?;
            let head = u32::from_be_bytes(head);
            let len = usize::try_from(head & !LAST_FRAGMENT).map_err(io::Error::other)?;
            let start = all.len();
            all.resize(start + len, 0);
            self.stream.read_exact(&mut all[start..])?;
            if head & LAST_FRAGMENT != 0 {
                return Ok(all);
            }
        }
    }
}

/// Of a fragment's length, in RFC 5531.
const LAST_FRAGMENT: u32 = 1 << 31;
