//! Random commands against a simple tree, and against a second store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The tree as one would draw it.
#[derive(Clone, Debug, Default)]
struct Tree {
    nodes: BTreeMap<Ino, Node>,
}

#[derive(Clone, Debug)]
struct Node {
    size: u64,
    nlink: u32,
    /// Of a directory.
    children: Option<BTreeMap<String, Ino>>,
    parent: Ino,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Tree::default();
        tree.nodes.insert(Ino::ROOT, Node::directory(Ino::ROOT));
        tree
    }

    fn children(&self, ino: Ino) -> Result<&BTreeMap<String, Ino>> {
        let node = self.nodes.get(&ino).ok_or(Error::NotFound)?;
        node.children.as_ref().ok_or(Error::NotADirectory)
    }

    fn child(&self, parent: Ino, name: &str) -> Result<Ino> {
        self.children(parent)?.get(name).copied().ok_or(Error::NotFound)
    }

    fn is_directory(&self, ino: Ino) -> bool {
        self.nodes[&ino].children.is_some()
    }

    fn attach(&mut self, parent: Ino, name: &str, ino: Ino) {
        let is_directory = self.is_directory(ino);
        let node = self.nodes.get_mut(&parent).unwrap();
        node.children.as_mut().unwrap().insert(name.into(), ino);
        if is_directory {
            node.nlink += 1;
            self.nodes.get_mut(&ino).unwrap().parent = parent;
        }
    }

    fn detach(&mut self, parent: Ino, name: &str) -> Ino {
        let ino = self.child(parent, name).unwrap();
        let is_directory = self.is_directory(ino);
        let node = self.nodes.get_mut(&parent).unwrap();
        node.children.as_mut().unwrap().remove(name);
        node.nlink -= u32::from(is_directory);
        ino
    }

    fn drop_name(&mut self, ino: Ino) {
        let node = self.nodes.get_mut(&ino).unwrap();
        node.nlink -= 1;
        if node.children.is_some() || node.nlink == 0 {
            self.nodes.remove(&ino);
        }
    }

    fn add(&mut self, parent: Ino, name: &str, ino: Ino, node: Node) -> Result<()> {
        if self.children(parent)?.contains_key(name) {
            return Err(Error::Exists);
        }
        self.nodes.insert(ino, node);
        self.attach(parent, name, ino);
        Ok(())
    }

    fn link(&mut self, ino: Ino, parent: Ino, name: &str) -> Result<()> {
        if !self.nodes.contains_key(&ino) {
            return Err(Error::StaleHandle);
        }
        if self.children(parent)?.contains_key(name) {
            return Err(Error::Exists);
        }
        if self.is_directory(ino) {
            return Err(Error::NotPermitted);
        }
        self.nodes.get_mut(&ino).unwrap().nlink += 1;
        self.attach(parent, name, ino);
        Ok(())
    }

    fn remove(&mut self, parent: Ino, name: &str, directory: bool) -> Result<()> {
        let ino = self.child(parent, name)?;
        match (directory, self.is_directory(ino)) {
            (false, true) => return Err(Error::IsADirectory),
            (true, false) => return Err(Error::NotADirectory),
            (true, true) if !self.children(ino)?.is_empty() => return Err(Error::NotEmpty),
            _ => {}
        }
        self.detach(parent, name);
        self.drop_name(ino);
        Ok(())
    }

    fn is_below(&self, mut at: Ino, top: Ino) -> bool {
        loop {
            if at == top {
                return true;
            }
            if at == Ino::ROOT {
                return false;
            }
            at = self.nodes[&at].parent;
        }
    }

    fn rename(&mut self, from: (Ino, &str), to: (Ino, &str), mode: RenameMode) -> Result<()> {
        self.children(from.0)?;
        let there = self.children(to.0)?.get(to.1).copied();
        let old = self.child(from.0, from.1)?;
        match (mode, there) {
            (RenameMode::NoReplace, Some(_)) => return Err(Error::Exists),
            (RenameMode::Exchange, None) => return Err(Error::NotFound),
            (_, Some(new)) if new == old => return Ok(()),
            _ => {}
        }
        let cycle = Error::Invalid(String::new());
        if self.is_directory(old) && self.is_below(to.0, old) {
            return Err(cycle);
        }
        let Some(new) = there else {
            self.detach(from.0, from.1);
            self.attach(to.0, to.1, old);
            return Ok(());
        };
        if mode == RenameMode::Exchange {
            if self.is_directory(new) && self.is_below(from.0, new) {
                return Err(cycle);
            }
            self.detach(from.0, from.1);
            self.detach(to.0, to.1);
            self.attach(from.0, from.1, new);
            self.attach(to.0, to.1, old);
            return Ok(());
        }
        match (self.is_directory(old), self.is_directory(new)) {
            (true, false) => return Err(Error::NotADirectory),
            (false, true) => return Err(Error::IsADirectory),
            (true, true) if !self.children(new)?.is_empty() => return Err(Error::NotEmpty),
            _ => {}
        }
        self.detach(to.0, to.1);
        self.drop_name(new);
        self.detach(from.0, from.1);
        self.attach(to.0, to.1, old);
        Ok(())
    }

    fn truncate(&mut self, ino: Ino, size: u64) -> Result<()> {
        let node = self.nodes.get_mut(&ino).ok_or(Error::StaleHandle)?;
        if node.children.is_some() {
            return Err(Error::IsADirectory);
        }
        node.size = size;
        Ok(())
    }
}

impl Node {
    fn file() -> Node {
        Node { size: 0, nlink: 1, children: None, parent: Ino(0) }
    }

    fn directory(parent: Ino) -> Node {
        Node { size: DIRECTORY_SIZE, nlink: 2, children: Some(BTreeMap::new()), parent }
    }
}

/// Inodes are chosen among all that were ever made, so that some are gone.
#[derive(Clone, Debug)]
enum Op {
    Mkdir(usize, u8),
    Mknod(usize, u8),
    Link(usize, usize, u8),
    Unlink(usize, u8),
    Rmdir(usize, u8),
    Rename(usize, u8, usize, u8, RenameMode),
    Truncate(usize, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let mode = prop_oneof![
        3 => Just(RenameMode::Replace),
        1 => Just(RenameMode::NoReplace),
        1 => Just(RenameMode::Exchange),
    ];
    let op = prop_oneof![
        3 => (0..8usize, 0..4u8).prop_map(|(parent, name)| Op::Mkdir(parent, name)),
        3 => (0..8usize, 0..4u8).prop_map(|(parent, name)| Op::Mknod(parent, name)),
        1 => (0..8usize, 0..8usize, 0..4u8).prop_map(|(ino, at, name)| Op::Link(ino, at, name)),
        2 => (0..8usize, 0..4u8).prop_map(|(parent, name)| Op::Unlink(parent, name)),
        2 => (0..8usize, 0..4u8).prop_map(|(parent, name)| Op::Rmdir(parent, name)),
        4 => (0..8usize, 0..4u8, 0..8usize, 0..4u8, mode)
            .prop_map(|(from, a, to, b, mode)| Op::Rename(from, a, to, b, mode)),
        1 => (0..8usize, 0..1000u64).prop_map(|(ino, size)| Op::Truncate(ino, size)),
    ];
    proptest::collection::vec(op, 1..60)
}

/// The same operation on the tree and as an action.
fn step(tree: &mut Tree, inos: &mut Vec<Ino>, next: u64, op: &Op) -> (Result<()>, Action) {
    let at = |index: usize| inos[index % inos.len()];
    let name = |index: u8| format!("n{index}");
    let bytes = |index: u8| name(index).into_bytes();
    let ino = Ino(next);
    match *op {
        Op::Mkdir(parent, n) => {
            let parent = at(parent);
            let done = tree.add(parent, &name(n), ino, Node::directory(parent));
            inos.push(ino);
            let mkdir = Mkdir { parent, name: bytes(n), mode: 0o777, umask: 0, ino };
            (done, Action::Mkdir(mkdir))
        }
        Op::Mknod(parent, n) => {
            let parent = at(parent);
            let done = tree.add(parent, &name(n), ino, Node::file());
            inos.push(ino);
            let kind = FileKind::File;
            let mknod = Mknod { parent, name: bytes(n), kind, mode: 0, umask: 0, rdev: 0, ino };
            (done, Action::Mknod(mknod))
        }
        Op::Link(ino, parent, n) => {
            let (ino, parent) = (at(ino), at(parent));
            let done = tree.link(ino, parent, &name(n));
            (done, Action::Link(Link { ino, parent, name: bytes(n) }))
        }
        Op::Unlink(parent, n) => {
            let done = tree.remove(at(parent), &name(n), false);
            (done, Action::Unlink(Unlink { parent: at(parent), name: bytes(n) }))
        }
        Op::Rmdir(parent, n) => {
            let done = tree.remove(at(parent), &name(n), true);
            (done, Action::Rmdir(Unlink { parent: at(parent), name: bytes(n) }))
        }
        Op::Rename(from, a, to, b, mode) => {
            let (parent, new_parent) = (at(from), at(to));
            let done = tree.rename((parent, &name(a)), (new_parent, &name(b)), mode);
            let rename = Rename { parent, name: bytes(a), new_parent, new_name: bytes(b), mode };
            (done, Action::Rename(rename))
        }
        Op::Truncate(ino, size) => {
            let ino = at(ino);
            let size_of = Some(Resize { size, epoch: None });
            (tree.truncate(ino, size), Action::SetAttr(SetAttr { size: size_of, ..set_of(ino) }))
        }
    }
}

fn kind_of<T>(result: &Result<T>) -> Option<std::mem::Discriminant<Error>> {
    result.as_ref().err().map(std::mem::discriminant)
}

/// Every name, count and size of the tree is in the state, and nothing else.
fn agree(world: &World, tree: &Tree) -> Result<(), TestCaseError> {
    let scanned = world.vol().scan(Ino(0), usize::MAX).unwrap();
    let inos: Vec<_> = scanned.iter().map(|scanned| scanned.inode.ino).collect();
    let expected: Vec<_> = tree.nodes.keys().copied().collect();
    prop_assert_eq!(inos, expected);
    let mut bytes = 0;
    for scanned in scanned {
        let inode = scanned.inode;
        let node = &tree.nodes[&inode.ino];
        prop_assert_eq!((inode.nlink, inode.size), (node.nlink, node.size), "{:?}", inode);
        let Some(children) = &node.children else {
            prop_assert_eq!(scanned.links, node.nlink);
            bytes += node.size;
            continue;
        };
        prop_assert_eq!(inode.parent, node.parent);
        let page = world.vol().read_dir(Some(&Identity::ROOT), inode.ino, 0, usize::MAX).unwrap();
        let listed: BTreeMap<String, Ino> = page
            .entries
            .into_iter()
            .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.ino))
            .collect();
        prop_assert_eq!(&listed, children);
    }
    let usage = world.vol().usage().unwrap();
    prop_assert_eq!((usage.files, usage.bytes), (tree.nodes.len() as u64 - 1, bytes));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The state is what the tree says; a command that is sent again changes nothing and is answered
    /// the same; a second store that got the same commands has the same bytes.
    #[test]
    fn commands_do_what_a_simple_tree_does(ops in ops()) {
        let mut world = World::new();
        let twin = MemKv::default();
        copy(&world.kv, &twin);
        let mut tree = Tree::new();
        let mut inos = vec![Ino::ROOT];
        for op in &ops {
            let next = world.take();
            let (expected, action) = step(&mut tree, &mut inos, next, op);
            world.request += 1;
            let origin = Origin {
                session: world.session,
                number: RequestNumber(world.request),
                lowest_unanswered: RequestNumber(world.request.saturating_sub(3).max(1)),
            };
            let command = world.command(action, Some(origin));
            let reply = world.apply(command.clone());
            prop_assert_eq!(kind_of(&reply), kind_of(&expected), "{:?}: {:?}", op, reply);
            let bytes = world.dump();
            prop_assert_eq!(world.apply(command.clone()), reply.clone());
            prop_assert_eq!(world.dump(), bytes);
            prop_assert_eq!(apply_to(&twin, &world.state, command), reply);
        }
        agree(&world, &tree)?;
        prop_assert_eq!(world.dump(), dump(&twin));
    }
}

fn copy(from: &MemKv, to: &MemKv) {
    let mut tx = Transaction::new(to);
    for (key, value) in dump(from) {
        tx.put(&key, &value);
    }
    to.write(tx.into_batch(), Durability::Process).unwrap();
}
