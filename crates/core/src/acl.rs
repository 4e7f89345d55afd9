//! POSIX.1e access control lists: acl(5). Pure.
//!
//! Of an ACL, owner, others and the mask (without one: the group) are the nine bits of the mode, and are kept nowhere
//! else. So chmod changes the mask and `ls` shows it, without any code.

use serde::{Deserialize, Serialize};

use crate::access::Identity;
use crate::error::{Error, Result};

/// Name of the extended attribute that guards the inode itself.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of the extended attribute that a directory hands down.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Linux asks a file system for no more than a page.
pub const ENTRIES_MAX: usize = (4096 - HEADER) / ENTRY;

const VERSION: u32 = 2;
const HEADER: usize = 4;
const ENTRY: usize = 8;
/// Id of an entry that names nobody.
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// What an ACL says beyond the nine bits. There is one exactly if the ACL has a mask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// Of the owning group; the group bits of the mode are the mask.
    group: u8,
    users: Vec<(u32, u8)>,
    groups: Vec<(u32, u8)>,
}

/// A whole list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Owner, mask or group, others, as in a mode: nine bits.
    pub bits: u32,
    /// Absent: the nine bits say it all.
    pub extended: Option<Extended>,
}

#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    perm: u8,
    id: u32,
}

impl Extended {
    /// What somebody who does not own the file may do of `wanted`. The first of these that fits decides: a named user,
    /// any of the groups, others.
    pub(crate) fn permits(&self, identity: &Identity, gid: u32, mode: u32, wanted: u32) -> bool {
        let mask = mode >> 3;
        let covers = |granted: u32| wanted & !granted == 0;
        if let Some((_, perm)) = self.users.iter().find(|(uid, _)| *uid == identity.uid) {
            return covers(u32::from(*perm) & mask);
        }
        let own = identity.in_group(gid).then_some(self.group);
        let named = self.groups.iter().filter(|(gid, _)| identity.in_group(*gid));
        let mut theirs = own.into_iter().chain(named.map(|(_, perm)| *perm)).peekable();
        if theirs.peek().is_none() {
            return covers(mode);
        }
        theirs.any(|perm| covers(u32::from(perm) & mask))
    }
}

impl Acl {
    /// As Linux keeps it in an extended attribute. `None`: a list without entries, which stands for no list.
    pub fn decode(value: &[u8]) -> Result<Option<Acl>> {
        let invalid = |why: &str| Error::Invalid(format!("an ACL: {why}"));
        if value.is_empty() {
            return Ok(None);
        }
        let (version, rest) =
            value.split_first_chunk::<HEADER>().ok_or_else(|| invalid("no version"))?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Error::NotSupported("ACLs of another version than 2".into()));
        }
        let (entries, odd) = rest.as_chunks::<ENTRY>();
        if !odd.is_empty() {
            return Err(invalid("an entry is cut short"));
        }
        if entries.len() > ENTRIES_MAX {
            return Err(Error::NoSpace(format!("an ACL has up to {ENTRIES_MAX} entries")));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let entries = entries.iter().map(Entry::decode).collect::<Result<Vec<_>>>()?;
        Acl::from_entries(&entries).map(Some)
    }

    /// Entries come in the order of their tags: the owner, users, the group, groups, a mask, others.
    fn from_entries(entries: &[Entry]) -> Result<Acl> {
        let invalid = |why: &str| Error::Invalid(format!("an ACL: {why}"));
        if !entries.is_sorted_by_key(|entry| entry.tag) {
            return Err(invalid("entries are out of order"));
        }
        let all = |tag: u16| entries.iter().filter(move |entry| entry.tag == tag);
        let named = |tag: u16| all(tag).map(|entry| (entry.id, entry.perm)).collect::<Vec<_>>();
        let at_most_one = |tag: u16| {
            let mut found = all(tag);
            let first = found.next();
            if found.next().is_some() { Err(invalid("an entry is double")) } else { Ok(first) }
        };
        let one = |tag: u16| at_most_one(tag)?.ok_or_else(|| invalid("an entry is missing"));
        let (owner, group, other) = (one(USER_OBJ)?, one(GROUP_OBJ)?, one(OTHER)?);
        let (users, groups) = (named(USER), named(GROUP));
        let mask = at_most_one(MASK)?;
        if mask.is_none() && !(users.is_empty() && groups.is_empty()) {
            return Err(invalid("who is named needs a mask"));
        }
        if users.iter().chain(&groups).any(|(id, _)| *id == NO_ID) {
            return Err(invalid("an id that nobody can have"));
        }
        let shown = mask.unwrap_or(group);
        Ok(Acl {
            bits: u32::from(owner.perm) << 6 | u32::from(shown.perm) << 3 | u32::from(other.perm),
            extended: mask.map(|_| Extended { group: group.perm, users, groups }),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self.bits, self.extended.as_ref())
    }

    /// What a new inode gets in a directory with this default: the maker's mode takes away, the umask does not count.
    pub fn inherited(&self, mode: u32) -> Acl {
        Acl { bits: self.bits & mode, extended: self.extended.clone() }
    }
}

/// The list of an inode with this mode, as Linux keeps it in an extended attribute.
pub fn encode(mode: u32, extended: Option<&Extended>) -> Vec<u8> {
    let class = |shift: u32| (mode >> shift & 0o7) as u8;
    let plain = |tag: u16, perm: u8| Entry { tag, perm, id: NO_ID };
    let named = |tag: u16, list: &[(u32, u8)]| -> Vec<Entry> {
        list.iter().map(|&(id, perm)| Entry { tag, perm, id }).collect()
    };
    let mut entries = vec![plain(USER_OBJ, class(6))];
    match extended {
        None => entries.push(plain(GROUP_OBJ, class(3))),
        Some(Extended { group, users, groups }) => {
            entries.extend(named(USER, users));
            entries.push(plain(GROUP_OBJ, *group));
            entries.extend(named(GROUP, groups));
            entries.push(plain(MASK, class(3)));
        }
    }
    entries.push(plain(OTHER, class(0)));
    let mut value = VERSION.to_le_bytes().to_vec();
    for Entry { tag, perm, id } in entries {
        value.extend(tag.to_le_bytes());
        value.extend(u16::from(perm).to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

impl Entry {
    fn decode(raw: &[u8; ENTRY]) -> Result<Entry> {
        let [t0, t1, p0, p1, id @ ..] = *raw;
        let (tag, perm) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([p0, p1]));
        let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER].contains(&tag);
        match u8::try_from(perm) {
            Ok(perm @ 0..=7) if known => Ok(Entry { tag, perm, id: u32::from_le_bytes(id) }),
            _ => Err(Error::Invalid(format!("an ACL: entry {tag:#x} with rights {perm:#o}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{self, Guarded, Wanted};
    use proptest::prelude::*;

    type Raw = (u16, u16, u32);

    fn raw(entries: &[Raw]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(perm.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    const MINIMAL: [Raw; 3] = [(1, 6, NO_ID), (4, 4, NO_ID), (32, 0, NO_ID)];

    fn decode(entries: &[Raw]) -> Result<Option<Acl>> {
        Acl::decode(&raw(entries))
    }

    #[test]
    fn a_minimal_list_is_a_mode() {
        let acl = decode(&MINIMAL).unwrap().unwrap();
        assert_eq!(acl, Acl { bits: 0o640, extended: None });
        assert_eq!(acl.encode(), raw(&MINIMAL));
        let masked = [(1, 6, NO_ID), (4, 4, NO_ID), (16, 2, NO_ID), (32, 0, NO_ID)];
        let acl = decode(&masked).unwrap().unwrap();
        assert_eq!((acl.bits, acl.extended.is_some()), (0o620, true), "the mask is what shows");
        assert_eq!(acl.encode(), raw(&masked));
    }

    #[test]
    fn no_entries_are_no_list() {
        assert_eq!(Acl::decode(b""), Ok(None));
        assert_eq!(decode(&[]), Ok(None));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let [owner, group, other] = MINIMAL;
        let (user, mask) = ((2, 6, 7), (16, 7, NO_ID));
        let refused: [&[Raw]; 12] = [
            &[owner],
            &[group, other],
            &[owner, other],
            &[owner, group],
            &[other, group, owner],
            &[owner, owner, group, other],
            &[owner, group, other, other],
            &[owner, user, group, other],
            &[owner, group, mask, mask, other],
            &[owner, (2, 6, NO_ID), group, mask, other],
            &[(1, 8, NO_ID), group, other],
            &[owner, group, other, (64, 1, 1)],
        ];
        for entries in refused {
            assert!(matches!(decode(entries), Err(Error::Invalid(_))), "{entries:?}");
        }
        assert!(matches!(Acl::decode(&raw(&MINIMAL)[..11]), Err(Error::Invalid(_))));
        assert!(matches!(Acl::decode(&[2, 0]), Err(Error::Invalid(_))));
        assert!(matches!(Acl::decode(&[1, 0, 0, 0]), Err(Error::NotSupported(_))));
        let many: Vec<Raw> = (0..600).map(|id| (2, 6, id)).collect();
        let many = [&[owner], &many[..], &[group, mask, other]].concat();
        assert!(matches!(decode(&many), Err(Error::NoSpace(_))));
    }

    #[test]
    fn the_mask_bounds_who_is_named_and_the_groups() {
        let acl = decode(&[
            (1, 7, NO_ID),
            (2, 6, 10),
            (4, 6, NO_ID),
            (8, 5, 20),
            (8, 2, 21),
            (16, 5, NO_ID),
            (32, 1, NO_ID),
        ]);
        let acl = acl.unwrap().unwrap();
        let may = |uid: u32, groups: &[u32], mask: u32| {
            let who = Identity { uid, gid: 99, groups: groups.to_vec() };
            let extended = acl.extended.as_ref();
            let at = Guarded { uid: 1, gid: 2, mode: acl.bits, directory: false, extended };
            access::check(&who, at, Wanted::from_mask(mask)).is_ok()
        };
        assert!(may(1, &[], 7), "the owner knows no mask");
        assert!(may(10, &[20], 4) && !may(10, &[20], 2) && !may(10, &[20], 1));
        assert!(may(11, &[2], 4) && !may(11, &[2], 2));
        assert!(may(11, &[20], 5) && !may(11, &[21], 2) && !may(11, &[21], 1));
        assert!(may(11, &[20, 21], 5) && !may(11, &[2, 21], 1));
        assert!(may(11, &[], 1) && !may(11, &[], 4));
        assert!(may(0, &[], 7));
    }

    fn entries() -> impl Strategy<Value = Vec<Raw>> {
        let named = || proptest::collection::vec((0..8u16, 0..5u32), 0..4);
        let mask = proptest::option::of(0..8u16);
        (0..8u16, named(), 0..8u16, named(), mask, 0..8u16).prop_map(
            |(owner, users, group, groups, mask, other)| {
                let mut list = vec![(1, owner, NO_ID)];
                list.extend(users.iter().map(|(perm, id)| (2, *perm, *id)));
                list.push((4, group, NO_ID));
                list.extend(groups.iter().map(|(perm, id)| (8, *perm, *id)));
                list.extend(mask.map(|perm| (16, perm, NO_ID)));
                list.push((32, other, NO_ID));
                list
            },
        )
    }

    fn who() -> impl Strategy<Value = Identity> {
        (1..6u32, 0..5u32, proptest::collection::vec(0..5u32, 0..3))
            .prop_map(|(uid, gid, groups)| Identity { uid, gid, groups })
    }

    /// Linux' way: one walk over the list as it comes. An empty mask is not looked behind.
    fn walk(list: &[Raw], who: &Identity, uid: u32, gid: u32, want: u16) -> bool {
        if list.contains(&(16, 0, NO_ID)) {
            let class = match who {
                who if who.uid == uid => 1,
                who if who.in_group(gid) => 16,
                _ => 32,
            };
            return list.iter().any(|(tag, perm, _)| *tag == class && perm & want == want);
        }
        let mask = list.iter().find(|(tag, ..)| *tag == 16).map_or(7, |(_, perm, _)| *perm);
        let mut found = false;
        for &(tag, perm, id) in list {
            let has = perm & want == want;
            let masked = perm & mask & want == want;
            match tag {
                1 if who.uid == uid => return has,
                2 if who.uid == id => return masked,
                4 | 8 if who.in_group(if tag == 4 { gid } else { id }) => {
                    found = true;
                    if has {
                        return masked;
                    }
                }
                32 => return !found && has,
                _ => {}
            }
        }
        false
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(list in entries()) {
            let named = list.iter().any(|(tag, ..)| [2, 8].contains(tag));
            let masked = list.iter().any(|(tag, ..)| *tag == 16);
            match decode(&list) {
                Ok(acl) => prop_assert_eq!(acl.unwrap().encode(), raw(&list)),
                Err(_) => prop_assert!(named && !masked),
            }
        }

        #[test]
        fn the_answer_is_that_of_a_walk_over_the_list(
            list in entries(), who in who(), uid in 1..6u32, gid in 0..5u32, want in 0..8u16
        ) {
            if let Ok(Some(acl)) = decode(&list) {
                let extended = acl.extended.as_ref();
                let at = Guarded { uid, gid, mode: acl.bits, directory: false, extended };
                let answer = access::check(&who, at, Wanted::from_mask(u32::from(want))).is_ok();
                prop_assert_eq!(answer, walk(&list, &who, uid, gid, want));
            }
        }

        /// A chmod is a change of three entries of the list.
        #[test]
        fn chmod_changes_owner_mask_and_others(list in entries(), mode in 0..0o1000u32) {
            if let Ok(Some(acl)) = decode(&list) {
                let group = if acl.extended.is_some() { 16 } else { 4 };
                let changed = list.iter().map(|&(tag, perm, id)| match tag {
                    1 => (tag, (mode >> 6 & 7) as u16, id),
                    32 => (tag, (mode & 7) as u16, id),
                    tag if tag == group => (tag, (mode >> 3 & 7) as u16, id),
                    _ => (tag, perm, id),
                }).collect::<Vec<_>>();
                prop_assert_eq!(encode(mode, acl.extended.as_ref()), raw(&changed));
            }
        }

        /// Nobody gets more from what is inherited than the default says, nor the mode but for who is named.
        #[test]
        fn what_is_inherited_is_the_default_cut_by_the_mode(list in entries(), mode in 0..0o1000u32) {
            if let Ok(Some(acl)) = decode(&list) {
                let new = acl.inherited(mode | 0o6000);
                prop_assert_eq!(new.bits, acl.bits & mode);
                prop_assert_eq!(new.extended, acl.extended);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Acl::decode(&value);
            let _ = Acl::decode(&[&raw(&[]), &value[..]].concat());
        }
    }
}
