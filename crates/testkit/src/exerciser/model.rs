//! A POSIX file system in memory, as Linux shows one to root.

use std::collections::BTreeMap;

use super::op::{Flags, Kind, Onto, Op, Outcome, Slot, Stat, XattrMode};

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
    nlink: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    mtime: Option<(i64, u32)>,
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
        let root = Node { content, mode: 0o755, nlink: 2, xattrs: BTreeMap::new(), mtime: None };
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

// ---- Paths.

impl Model {
    fn walk(&self, path: &str, follow: bool) -> Result<Place> {
        self.walk_from(ROOT, path, follow, &mut 0)
    }

    fn walk_from(&self, start: Id, path: &str, follow: bool, links: &mut u32) -> Result<Place> {
        let (parent, name) = self.parent_of(start, path, links)?;
        let node = self.entry(parent, name)?;
        if follow
            && let Some(id) = node
            && let Content::Symlink(target) = &self.nodes[&id].content
        {
            return self.follow(parent, target, links);
        }
        Ok(Place { parent, name: name.to_owned(), node })
    }

    fn follow(&self, from: Id, target: &str, links: &mut u32) -> Result<Place> {
        *links += 1;
        if *links > LINKS_MAX {
            return Err(libc::ELOOP);
        }
        self.walk_from(from, target, true, links)
    }

    /// All but the last name of a path.
    fn parent_of<'a>(&self, start: Id, path: &'a str, links: &mut u32) -> Result<(Id, &'a str)> {
        let mut names: Vec<_> = path.split('/').collect();
        let last = names.pop().expect("a path has a name");
        let mut at = start;
        for name in names {
            let mut next = self.entry(at, name)?.ok_or(libc::ENOENT)?;
            if let Content::Symlink(target) = &self.nodes[&next].content {
                next = self.follow(at, target, links)?.found()?;
            }
            at = next;
        }
        match self.nodes[&at].kind() {
            Kind::Directory => Ok((at, last)),
            _ => Err(libc::ENOTDIR),
        }
    }

    fn entry(&self, directory: Id, name: &str) -> Result<Option<Id>> {
        let Content::Directory { entries, .. } = &self.nodes[&directory].content else {
            return Err(libc::ENOTDIR);
        };
        if name.len() > NAME_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        Ok(entries.get(name).copied())
    }

    /// Where something new may be put.
    fn free_place(&self, path: &str) -> Result<Place> {
        let place = self.walk(path, false)?;
        if place.node.is_some() { Err(libc::EEXIST) } else { Ok(place) }
    }

    fn node(&mut self, path: &str) -> Result<&mut Node> {
        let id = self.walk(path, true)?.found()?;
        Ok(self.nodes.get_mut(&id).expect("it was found"))
    }

    fn is_below(&self, mut id: Id, ancestor: Id) -> bool {
        loop {
            if id == ancestor {
                return true;
            }
            let Content::Directory { parent, .. } = self.nodes[&id].content else { return false };
            if parent == id {
                return false;
            }
            id = parent;
        }
    }
}

// ---- Changes of the tree.

impl Model {
    fn add(&mut self, place: &Place, content: Content, mode: u32) -> Id {
        let id = self.next;
        self.next += 1;
        let nlink = if matches!(content, Content::Directory { .. }) { 2 } else { 1 };
        let node = Node { content, mode, nlink, xattrs: BTreeMap::new(), mtime: None };
        self.nodes.insert(id, node);
        self.put(place.parent, &place.name, id);
        id
    }

    fn entries(&mut self, directory: Id) -> &mut BTreeMap<String, Id> {
        let node = self.nodes.get_mut(&directory).expect("a directory");
        node.mtime = None;
        match &mut node.content {
            Content::Directory { entries, .. } => entries,
            _ => unreachable!("a directory"),
        }
    }

    fn put(&mut self, directory: Id, name: &str, id: Id) {
        self.entries(directory).insert(name.to_owned(), id);
        if let Some(Node { content: Content::Directory { parent, .. }, .. }) =
            self.nodes.get_mut(&id)
        {
            *parent = directory;
            self.nodes.get_mut(&directory).expect("a directory").nlink += 1;
        }
    }

    fn take(&mut self, directory: Id, name: &str) -> Id {
        let id = self.entries(directory).remove(name).expect("it is there");
        if self.nodes[&id].kind() == Kind::Directory {
            self.nodes.get_mut(&directory).expect("a directory").nlink -= 1;
        }
        id
    }

    /// One name less.
    fn drop_link(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.nlink = if node.kind() == Kind::Directory { 0 } else { node.nlink - 1 };
        self.reap(id);
    }

    fn reap(&mut self, id: Id) {
        let held = self.open.values().any(|open| open.id == id);
        if !held && self.nodes.get(&id).is_some_and(|node| node.nlink == 0) {
            self.nodes.remove(&id);
        }
    }

    fn mkdir(&mut self, path: &str, mode: u32) -> Result<Outcome> {
        let place = self.free_place(path)?;
        // Of the sticky bit and set-ids only the former is taken over.
        let content = Content::Directory { parent: place.parent, entries: BTreeMap::new() };
        self.add(&place, content, mode & 0o1777);
        Ok(Outcome::Done)
    }

    fn rmdir(&mut self, path: &str) -> Result<Outcome> {
        let place = self.walk(path, false)?;
        match &self.nodes[&place.found()?].content {
            Content::Directory { entries, .. } if entries.is_empty() => {}
            Content::Directory { .. } => return Err(libc::ENOTEMPTY),
            _ => return Err(libc::ENOTDIR),
        }
        let id = self.take(place.parent, &place.name);
        self.drop_link(id);
        Ok(Outcome::Done)
    }

    fn unlink(&mut self, path: &str) -> Result<Outcome> {
        let place = self.walk(path, false)?;
        if self.nodes[&place.found()?].kind() == Kind::Directory {
            return Err(libc::EISDIR);
        }
        let id = self.take(place.parent, &place.name);
        self.drop_link(id);
        Ok(Outcome::Done)
    }

    fn link(&mut self, from: &str, to: &str) -> Result<Outcome> {
        let id = self.walk(from, false)?.found()?;
        let place = self.free_place(to)?;
        let node = self.nodes.get_mut(&id).expect("it was found");
        if node.kind() == Kind::Directory {
            return Err(libc::EPERM);
        }
        node.nlink += 1;
        self.put(place.parent, &place.name, id);
        Ok(Outcome::Done)
    }

    fn rename(&mut self, from: &str, to: &str, onto: Onto) -> Result<Outcome> {
        let (old_parent, old_name) = self.parent_of(ROOT, from, &mut 0)?;
        let (new_parent, new_name) = self.parent_of(ROOT, to, &mut 0)?;
        let old = self.entry(old_parent, old_name)?.ok_or(libc::ENOENT)?;
        let new = self.entry(new_parent, new_name)?;
        match (onto, new) {
            (Onto::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (Onto::Exchange, None) => return Err(libc::ENOENT),
            _ => {}
        }
        let old_is_directory = self.nodes[&old].kind() == Kind::Directory;
        if old_is_directory && self.is_below(new_parent, old) {
            return Err(libc::EINVAL);
        }
        if let Some(new) = new
            && self.nodes[&new].kind() == Kind::Directory
            && self.is_below(old_parent, new)
        {
            return Err(if onto == Onto::Exchange { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        if new == Some(old) {
            return Ok(Outcome::Done);
        }
        if onto == Onto::Exchange {
            let (old, new) = (self.take(old_parent, old_name), self.take(new_parent, new_name));
            self.put(old_parent, old_name, new);
            self.put(new_parent, new_name, old);
            return Ok(Outcome::Done);
        }
        match new.map(|new| &self.nodes[&new].content) {
            Some(Content::Directory { .. }) if !old_is_directory => return Err(libc::EISDIR),
            Some(Content::Directory { entries, .. }) if !entries.is_empty() => {
                return Err(libc::ENOTEMPTY);
            }
            Some(Content::File(_) | Content::Symlink(_)) if old_is_directory => {
                return Err(libc::ENOTDIR);
            }
            _ => {}
        }
        self.take(old_parent, old_name);
        if new.is_some() {
            let replaced = self.take(new_parent, new_name);
            self.drop_link(replaced);
        }
        self.put(new_parent, new_name, old);
        Ok(Outcome::Done)
    }
}

// ---- Files.

impl Model {
    fn open(&mut self, slot: Slot, path: &str, flags: Flags, mode: u32) -> Result<Outcome> {
        let follow = !(flags.no_follow || flags.create && flags.exclusive);
        let place = self.walk(path, follow)?;
        let id = match place.node {
            None if flags.create => self.add(&place, Content::File(Vec::new()), mode),
            None => return Err(libc::ENOENT),
            Some(_) if flags.create && flags.exclusive => return Err(libc::EEXIST),
            Some(id) => id,
        };
        match self.nodes[&id].kind() {
            Kind::Symlink if flags.directory => return Err(libc::ENOTDIR),
            Kind::Symlink => return Err(libc::ELOOP),
            Kind::Directory if flags.create || flags.write || flags.truncate => {
                return Err(libc::EISDIR);
            }
            Kind::File if flags.directory => return Err(libc::ENOTDIR),
            _ => {}
        }
        if flags.truncate {
            self.resize(id, 0)?;
        }
        self.open.insert(slot, Open { id, flags });
        Ok(Outcome::Done)
    }

    fn read(&self, slot: Slot, offset: u64, len: usize) -> Result<Outcome> {
        let open = self.open[&slot];
        if !open.flags.read {
            return Err(libc::EBADF);
        }
        let Content::File(data) = &self.nodes[&open.id].content else { return Err(libc::EISDIR) };
        let start = usize::try_from(offset).expect("small").min(data.len());
        Ok(Outcome::Bytes(data[start..data.len().min(start + len)].to_vec()))
    }

    fn write(&mut self, slot: Slot, offset: u64, len: usize, fill: u8) -> Result<Outcome> {
        let open = self.open[&slot];
        if !open.flags.write {
            return Err(libc::EBADF);
        }
        let node = self.nodes.get_mut(&open.id).expect("it is open");
        let Content::File(data) = &mut node.content else { return Err(libc::EBADF) };
        let start =
            if open.flags.append { data.len() } else { usize::try_from(offset).expect("small") };
        if len > 0 {
            if data.len() < start + len {
                data.resize(start + len, 0);
            }
            data[start..start + len].copy_from_slice(&filling(len, fill));
            node.mtime = None;
        }
        Ok(Outcome::Count(len))
    }

    fn resize(&mut self, id: Id, size: u64) -> Result<Outcome> {
        let node = self.nodes.get_mut(&id).expect("it was found");
        let Content::File(data) = &mut node.content else { return Err(libc::EINVAL) };
        data.resize(usize::try_from(size).expect("small"), 0);
        node.mtime = None;
        Ok(Outcome::Done)
    }

    fn stat(&self, id: Id) -> Outcome {
        let node = &self.nodes[&id];
        Outcome::Stat(Stat {
            kind: node.kind(),
            mode: node.mode,
            nlink: node.nlink,
            size: node.size(),
            ino: id,
            mtime: node.mtime,
        })
    }

    fn list(&self, path: &str) -> Result<Outcome> {
        let id = self.walk(path, true)?.found()?;
        let Content::Directory { entries, .. } = &self.nodes[&id].content else {
            return Err(libc::ENOTDIR);
        };
        let shown = entries.iter().map(|(name, id)| (name.clone(), self.nodes[id].kind()));
        Ok(Outcome::Entries(shown.collect()))
    }
}

impl Node {
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

/// What a write of `len` bytes puts there: no two bytes beside each other are equal, none is zero.
pub(super) fn filling(len: usize, fill: u8) -> Vec<u8> {
    (1..=251).cycle().skip(fill.into()).take(len).collect()
}
