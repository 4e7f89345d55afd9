//! Extended attributes.

use super::*;

fn set(world: &mut World, ino: Ino, name: &str, value: &[u8], mode: XattrMode) -> Result<()> {
    let set = SetXattr { ino, name: name.into(), value: value.to_vec(), mode };
    world.run(Action::SetXattr(set)).map(drop)
}

fn get(world: &World, ino: Ino, name: &str) -> Result<Vec<u8>> {
    world.vol().xattr(&world.caller, ino, name.as_bytes())
}

#[test]
fn an_attribute_is_made_replaced_and_removed() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let before = world.inode(file);
    refused(set(&mut world, file, "user.a", b"1", XattrMode::Replace), &Error::NoAttribute);
    set(&mut world, file, "user.a", b"1", XattrMode::Create).unwrap();
    refused(set(&mut world, file, "user.a", b"2", XattrMode::Create), &Error::Exists);
    set(&mut world, file, "user.a", b"2", XattrMode::Replace).unwrap();
    set(&mut world, file, "user.b", b"", XattrMode::Set).unwrap();
    assert_eq!(get(&world, file, "user.a").unwrap(), b"2");
    assert!(world.inode(file).ctime > before.ctime);
    let names = world.vol().xattrs(&Identity::ROOT, file).unwrap();
    assert_eq!(names, [b"user.a".to_vec(), b"user.b".to_vec()]);
    let remove = Action::RemoveXattr(RemoveXattr { ino: file, name: b"user.a".to_vec() });
    world.run(remove.clone()).unwrap();
    refused(world.run(remove), &Error::NoAttribute);
    refused(get(&world, file, "user.a"), &Error::NoAttribute);
    world.unlink(Ino::ROOT, "f").unwrap();
    refused(get(&world, file, "user.b"), &Error::StaleHandle);
}

#[test]
fn each_space_has_its_own_rule() {
    let mut world = World::new();
    let file = world.mknod_of(Ino::ROOT, "f", FileKind::File, 0o644).unwrap();
    for name in ["trusted.t", "security.s", "user.u"] {
        set(&mut world, file, name, b"v", XattrMode::Set).unwrap();
    }
    world.as_user(1, 1, |world| {
        refused(set(world, file, "user.u", b"w", XattrMode::Set), &Error::AccessDenied);
        refused(set(world, file, "trusted.t", b"w", XattrMode::Set), &Error::NotPermitted);
        refused(set(world, file, "security.s", b"w", XattrMode::Set), &Error::NotPermitted);
        refused(get(world, file, "trusted.t"), &Error::NoAttribute);
        assert_eq!(get(world, file, "user.u").unwrap(), b"v");
        assert_eq!(get(world, file, "security.s").unwrap(), b"v");
        let names = world.vol().xattrs(&world.caller, file).unwrap();
        assert_eq!(names, [b"security.s".to_vec(), b"user.u".to_vec()]);
    });
    let link = world.symlink(Ino::ROOT, "l", "t").unwrap();
    refused(set(&mut world, link, "user.u", b"v", XattrMode::Set), &Error::NotPermitted);
    let tmp = world.mkdir_mode(Ino::ROOT, "tmp", 0o1777).unwrap();
    world.as_user(1, 1, |world| {
        refused(set(world, tmp, "user.u", b"v", XattrMode::Set), &Error::NotPermitted);
    });
    for name in ["system.nfs4_acl", "os2.x", "user"] {
        let unsupported = Error::NotSupported(String::new());
        refused(set(&mut world, file, name, b"v", XattrMode::Set), &unsupported);
        refused(get(&world, file, name), &unsupported);
    }
    refused(set(&mut world, file, "user.", b"v", XattrMode::Set), &Error::Invalid(String::new()));
}

#[test]
fn attributes_have_bounds() {
    let mut world = World::new();
    let file = world.mknod(Ino::ROOT, "f").unwrap();
    let largest = vec![7; 64 << 10];
    set(&mut world, file, "user.a", &largest, XattrMode::Set).unwrap();
    assert_eq!(get(&world, file, "user.a").unwrap(), largest);
    let larger = vec![7; (64 << 10) + 1];
    refused(set(&mut world, file, "user.b", &larger, XattrMode::Set), &Error::ValueTooLong);
    let long = format!("user.{}", "n".repeat(251));
    refused(set(&mut world, file, &long, b"", XattrMode::Set), &Error::Range);
    let mut count = 0;
    let full = loop {
        let name = format!("user.{count:0>250}");
        match set(&mut world, file, &name, b"", XattrMode::Set) {
            Ok(()) => count += 1,
            Err(full) => break full,
        }
    };
    refused(Err::<(), _>(full), &Error::NoSpace(String::new()));
    assert_eq!(count, ((64 << 10) - 49 - 7) / 256);
}
