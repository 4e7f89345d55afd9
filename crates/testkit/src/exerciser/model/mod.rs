//! A POSIX file system in memory, as Linux shows one to root.

mod files;
mod paths;
mod tree;

use std::collections::BTreeMap;

use super::locked::Locked;
use super::op::{Flags, Kind, Op, Outcome, Slot, XattrMode};

pub(super) use files::filling;

pub(super) type Id = u64;

/// Symbolic links that one path may go through.
const LINKS_MAX: u32 = 40;
const NAME_MAX: usize = 255;
const ROOT: Id = 1;

type Result<T> = std::result::Result<T, i32>;

#[derive(Debug)]
pub(super) struct Model {
    nodes: BTreeMap<Id, Node>,
    open: BTreeMap<Slot, Open>,
    next: Id,
}

#[derive(Debug)]
struct Node {
    content: Content,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    mtime: Option<(i64, u32)>,
    locks: Locked<Slot>,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Directory { parent: Id, entries: BTreeMap<String, Id> },
    Symlink(String),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    id: Id,
    flags: Flags,
}

/// A directory, the last name of a path, and what has that name.
#[derive(Debug)]
struct Place {
    parent: Id,
    name: String,
    node: Option<Id>,
}

impl Place {
    fn found(&self) -> Result<Id> {
        self.node.ok_or(libc::ENOENT)
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let content = Content::Directory { parent: ROOT, entries: BTreeMap::new() };
        let root = Node::new(content, 0o755, 0);
        Model { nodes: [(ROOT, root)].into(), open: BTreeMap::new(), next: ROOT + 1 }
    }

    pub(super) fn perform(&mut self, op: &Op) -> Outcome {
        self.act(op).unwrap_or_else(Outcome::Failed)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_alive(&self, id: Id) -> bool {
        self.nodes.contains_key(&id)
    }

    pub(super) fn open_slots(&self) -> Vec<Slot> {
        self.open.keys().copied().collect()
    }

    /// Every path that leads somewhere without a symbolic link in between.
    pub(super) fn paths(&self) -> Vec<(String, Kind)> {
        let mut paths = Vec::new();
        self.collect(ROOT, "", &mut paths);
        paths
    }

    pub(super) fn size_of(&self, slot: Slot) -> u64 {
        let node = self.open.get(&slot).and_then(|open| self.nodes.get(&open.id));
        node.and_then(Node::size).unwrap_or(0)
    }

    pub(super) fn is_file(&self, slot: Slot) -> bool {
        self.opened(slot).kind() == Kind::File
    }

    pub(super) fn is_same(&self, one: Slot, other: Slot) -> bool {
        self.open[&one].id == self.open[&other].id
    }

    pub(super) fn has_locks(&self, slot: Slot) -> bool {
        self.open.contains_key(&slot) && self.opened(slot).locks.has(slot)
    }

    fn opened(&self, slot: Slot) -> &Node {
        &self.nodes[&self.open[&slot].id]
    }

    fn opened_mut(&mut self, slot: Slot) -> &mut Node {
        self.nodes.get_mut(&self.open[&slot].id).expect("it is open")
    }

    fn collect(&self, directory: Id, below: &str, paths: &mut Vec<(String, Kind)>) {
        let Content::Directory { entries, .. } = &self.nodes[&directory].content else { return };
        for (name, id) in entries {
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            paths.push((path.clone(), self.nodes[id].kind()));
            self.collect(*id, &path, paths);
        }
    }

    fn act(&mut self, op: &Op) -> Result<Outcome> {
        match op {
            Op::Open { slot, path, flags, mode } => self.open(*slot, path, *flags, *mode),
            Op::Close { slot } => {
                self.opened_mut(*slot).locks.drop_all_of(*slot);
                let open = self.open.remove(slot).ok_or(libc::EBADF)?;
                self.reap(open.id);
                Ok(Outcome::Done)
            }
            Op::Read { slot, offset, len } => self.read(*slot, *offset, *len),
            Op::Write { slot, offset, len, fill } => self.write(*slot, *offset, *len, *fill),
            Op::Resize { slot, size } => {
                let open = self.open[slot];
                if !open.flags.write || self.nodes[&open.id].kind() == Kind::Directory {
                    return Err(libc::EINVAL);
                }
                self.resize(open.id, *size)
            }
            Op::Ranges { slot, act } => self.on_ranges(*slot, act),
            Op::Sync { .. } => Ok(Outcome::Done),
            Op::StatOpen { slot } => Ok(self.stat(self.open[slot].id)),
            Op::Truncate { path, size } => {
                let id = self.walk(path, true)?.found()?;
                match self.nodes[&id].kind() {
                    Kind::Directory => Err(libc::EISDIR),
                    _ => self.resize(id, *size),
                }
            }
            Op::Mkdir { path, mode } => self.mkdir(path, *mode),
            Op::Rmdir { path } => self.rmdir(path),
            Op::Unlink { path } => self.unlink(path),
            Op::Rename { from, to, onto } => self.rename(from, to, *onto),
            Op::Link { from, to } => self.link(from, to),
            Op::Symlink { target, path } => {
                let place = self.free_place(path)?;
                self.add(&place, Content::Symlink(target.clone()), 0o777);
                Ok(Outcome::Done)
            }
            Op::Readlink { path } => match &self.nodes[&self.walk(path, false)?.found()?].content {
                Content::Symlink(target) => Ok(Outcome::Names(vec![target.clone()])),
                _ => Err(libc::EINVAL),
            },
            Op::Stat { path, follow } => Ok(self.stat(self.walk(path, *follow)?.found()?)),
            Op::List { path } => self.list(path),
            Op::Chmod { path, mode } => {
                self.node(path)?.mode = *mode;
                Ok(Outcome::Done)
            }
            Op::Chown { path, uid, gid, follow } => self.chown(path, *uid, *gid, *follow),
            Op::SetMtime { path, seconds, nanos } => {
                self.node(path)?.mtime = Some((*seconds, *nanos));
                Ok(Outcome::Done)
            }
            Op::SetXattr { path, name, value, mode } => self.set_xattr(path, name, value, *mode),
            Op::GetXattr { path, name } => {
                let value = self.node(path)?.xattrs.get(name).ok_or(libc::ENODATA)?;
                Ok(Outcome::Bytes(value.clone()))
            }
            Op::ListXattr { path } => {
                Ok(Outcome::Names(self.node(path)?.xattrs.keys().cloned().collect()))
            }
            Op::RemoveXattr { path, name } => {
                self.node(path)?.xattrs.remove(name).ok_or(libc::ENODATA)?;
                Ok(Outcome::Done)
            }
        }
    }
}

impl Model {
    /// The set-ids go whoever it is that asks; sgid without group execution is none.
    fn chown(
        &mut self,
        path: &str,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: bool,
    ) -> Result<Outcome> {
        let id = self.walk(path, follow)?.found()?;
        let node = self.nodes.get_mut(&id).expect("it was found");
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        if node.kind() == Kind::File {
            node.mode &= !0o4000;
            if node.mode & 0o010 != 0 {
                node.mode &= !0o2000;
            }
        }
        Ok(Outcome::Done)
    }

    fn set_xattr(
        &mut self,
        path: &str,
        name: &str,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<Outcome> {
        let xattrs = &mut self.node(path)?.xattrs;
        match (xattrs.contains_key(name), mode) {
            (true, XattrMode::Create) => return Err(libc::EEXIST),
            (false, XattrMode::Replace) => return Err(libc::ENODATA),
            _ => {}
        }
        xattrs.insert(name.to_owned(), value.to_vec());
        Ok(Outcome::Done)
    }
}

impl Node {
    fn new(content: Content, mode: u32, gid: u32) -> Self {
        let nlink = if matches!(content, Content::Directory { .. }) { 2 } else { 1 };
        let (xattrs, locks) = (BTreeMap::new(), Locked::default());
        Node { content, mode, uid: 0, gid, nlink, xattrs, mtime: None, locks }
    }

    fn kind(&self) -> Kind {
        match self.content {
            Content::File(_) => Kind::File,
            Content::Directory { .. } => Kind::Directory,
            Content::Symlink(_) => Kind::Symlink,
        }
    }

    fn size(&self) -> Option<u64> {
        match &self.content {
            Content::File(data) => Some(data.len() as u64),
            Content::Directory { .. } => None,
            Content::Symlink(target) => Some(target.len() as u64),
        }
    }
}
