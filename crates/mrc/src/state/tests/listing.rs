//! Listing a directory while it changes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn names(world: &World, ino: Ino, limit: usize) -> Vec<String> {
    let (mut after, mut names) = (0, Vec::new());
    loop {
        let page = world.vol().read_dir(Some(&Identity::ROOT), ino, after, limit).unwrap();
        after = page.entries.last().map_or(after, |entry| entry.cookie);
        names.extend(page.entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()));
        if page.end {
            return names;
        }
    }
}

#[test]
fn a_listing_has_every_entry_once_whatever_the_page() {
    let mut world = World::new();
    let dir = world.mkdir(Ino::ROOT, "d").unwrap();
    for index in 0..7 {
        world.mknod(dir, &format!("f{index}")).unwrap();
    }
    let all: Vec<_> = (0..7).map(|index| format!("f{index}")).collect();
    for limit in [1, 2, 3, 7, 8] {
        assert_eq!(names(&world, dir, limit), all);
    }
    let page = world.vol().read_dir(Some(&Identity::ROOT), dir, 0, 100).unwrap();
    assert_eq!(page.directory.parent, Ino::ROOT);
}

#[test]
fn a_listing_needs_r() {
    let mut world = World::new();
    let dir = world.mkdir_mode(Ino::ROOT, "d", 0o711).unwrap();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let user = Identity { uid: 1, gid: 1, groups: vec![] };
    refused(world.vol().read_dir(Some(&user), dir, 0, 9), &Error::AccessDenied);
    refused(world.vol().read_dir(Some(&user), file, 0, 9), &Error::NotADirectory);
}

#[test]
fn a_name_that_is_replaced_or_swapped_keeps_its_place() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.mknod(Ino::ROOT, name).unwrap();
    }
    let cookie = |world: &World, name: &str| {
        let page = world.vol().read_dir(Some(&Identity::ROOT), Ino::ROOT, 0, 99).unwrap();
        page.entries.iter().find(|entry| entry.name == name.as_bytes()).unwrap().cookie
    };
    let before = cookie(&world, "b");
    world.mv((Ino::ROOT, "d"), (Ino::ROOT, "b")).unwrap();
    world.rename((Ino::ROOT, "a"), (Ino::ROOT, "b"), RenameMode::Exchange).unwrap();
    assert_eq!(cookie(&world, "b"), before);
    assert_eq!(names(&world, Ino::ROOT, 1), ["a", "b", "c"]);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Remove(u8),
    Replace(u8, u8),
    Page(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..20u8).prop_map(Step::Add),
        (0..20u8).prop_map(Step::Remove),
        (0..20u8, 0..20u8).prop_map(|(from, to)| Step::Replace(from, to)),
        (1..4usize).prop_map(Step::Page),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Who was there from the first page to the last is listed exactly once; nobody is listed that
    /// never was there.
    #[test]
    fn a_listing_is_stable_under_concurrent_change(first in 0..10u8, steps in steps()) {
        let mut world = World::new();
        let root = Ino::ROOT;
        let name = |index: u8| format!("n{index}");
        for index in 0..first {
            world.mknod(root, &name(index)).unwrap();
        }
        let start: BTreeSet<String> = names(&world, root, 100).into_iter().collect();
        let (mut throughout, mut ever) = (start.clone(), start);
        let (mut after, mut seen) = (0, Vec::new());
        let steps = steps.into_iter().chain(std::iter::repeat_n(Step::Page(5), 30));
        for step in steps {
            match step {
                Step::Add(index) => drop(world.mknod(root, &name(index))),
                Step::Remove(index) => drop(world.unlink(root, &name(index))),
                Step::Replace(from, to) => drop(world.mv((root, &name(from)), (root, &name(to)))),
                Step::Page(limit) => {
                    let page = world.vol().read_dir(Some(&Identity::ROOT), root, after, limit).unwrap();
                    after = page.entries.last().map_or(after, |entry| entry.cookie);
                    seen.extend(page.entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()));
                }
            }
            let there: BTreeSet<String> = names(&world, root, 100).into_iter().collect();
            throughout = throughout.intersection(&there).cloned().collect();
            ever.extend(there);
        }
        for name in &throughout {
            prop_assert_eq!(seen.iter().filter(|seen| *seen == name).count(), 1, "{}", name);
        }
        prop_assert!(seen.iter().all(|name| ever.contains(name)));
    }
}
