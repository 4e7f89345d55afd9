//! Changes of the tree.

use std::collections::BTreeMap;

use super::{Content, Id, Model, Node, Place, ROOT, Result};
use crate::exerciser::op::{Kind, Onto, Outcome};

impl Model {
    /// In a directory with sgid a new node has its group, and a new directory also the bit.
    pub(super) fn add(&mut self, place: &Place, content: Content, mut mode: u32) -> Id {
        let id = self.next;
        self.next += 1;
        let parent = &self.nodes[&place.parent];
        let inherits = parent.mode & 0o2000 != 0;
        if inherits && matches!(content, Content::Directory { .. }) {
            mode |= 0o2000;
        }
        let gid = if inherits { parent.gid } else { 0 };
        self.nodes.insert(id, Node::new(content, mode, gid));
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
    pub(super) fn drop_link(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.nlink = if node.kind() == Kind::Directory { 0 } else { node.nlink - 1 };
        self.reap(id);
    }

    pub(super) fn reap(&mut self, id: Id) {
        let held = self.open.values().any(|open| open.id == id);
        if !held && self.nodes.get(&id).is_some_and(|node| node.nlink == 0) {
            self.nodes.remove(&id);
        }
    }

    pub(super) fn mkdir(&mut self, path: &str, mode: u32) -> Result<Outcome> {
        let place = self.free_place(path)?;
        // Of the sticky bit and set-ids only the former is taken over.
        let content = Content::Directory { parent: place.parent, entries: BTreeMap::new() };
        self.add(&place, content, mode & 0o1777);
        Ok(Outcome::Done)
    }

    pub(super) fn rmdir(&mut self, path: &str) -> Result<Outcome> {
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

    pub(super) fn unlink(&mut self, path: &str) -> Result<Outcome> {
        let place = self.walk(path, false)?;
        if self.nodes[&place.found()?].kind() == Kind::Directory {
            return Err(libc::EISDIR);
        }
        let id = self.take(place.parent, &place.name);
        self.drop_link(id);
        Ok(Outcome::Done)
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> Result<Outcome> {
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

    pub(super) fn rename(&mut self, from: &str, to: &str, onto: Onto) -> Result<Outcome> {
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
