//! Paths, and what they lead to.

use super::{Content, Id, LINKS_MAX, Model, NAME_MAX, Node, Place, ROOT, Result};
use crate::exerciser::op::Kind;

impl Model {
    pub(super) fn walk(&self, path: &str, follow: bool) -> Result<Place> {
        self.walk_from(ROOT, path, follow, &mut 0)
    }

    pub(super) fn walk_from(
        &self,
        start: Id,
        path: &str,
        follow: bool,
        links: &mut u32,
    ) -> Result<Place> {
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

    pub(super) fn follow(&self, from: Id, target: &str, links: &mut u32) -> Result<Place> {
        *links += 1;
        if *links > LINKS_MAX {
            return Err(libc::ELOOP);
        }
        self.walk_from(from, target, true, links)
    }

    /// All but the last name of a path.
    pub(super) fn parent_of<'a>(
        &self,
        start: Id,
        path: &'a str,
        links: &mut u32,
    ) -> Result<(Id, &'a str)> {
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

    pub(super) fn entry(&self, directory: Id, name: &str) -> Result<Option<Id>> {
        let Content::Directory { entries, .. } = &self.nodes[&directory].content else {
            return Err(libc::ENOTDIR);
        };
        if name.len() > NAME_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        Ok(entries.get(name).copied())
    }

    /// Where something new may be put.
    pub(super) fn free_place(&self, path: &str) -> Result<Place> {
        let place = self.walk(path, false)?;
        if place.node.is_some() { Err(libc::EEXIST) } else { Ok(place) }
    }

    pub(super) fn node(&mut self, path: &str) -> Result<&mut Node> {
        let id = self.walk(path, true)?.found()?;
        Ok(self.nodes.get_mut(&id).expect("it was found"))
    }

    pub(super) fn is_below(&self, mut id: Id, ancestor: Id) -> bool {
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
