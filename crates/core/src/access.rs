//! Who may do what to an inode: mode bits, ACLs, owner, groups, sticky directories. Pure.
//!
//! Root passes every check but one: to execute a file some x bit must be set.

use serde::{Deserialize, Serialize};

use crate::acl::Extended;
use crate::error::{Error, Result};

/// Set-user-id bit of a mode.
pub const SUID: u32 = 0o4000;
/// Set-group-id bit of a mode.
pub const SGID: u32 = 0o2000;
/// Sticky bit of a mode.
pub const STICKY: u32 = 0o1000;
/// Bits that a mode can have, without the kind of the file.
pub const MODE_MASK: u32 = 0o7777;

/// Whom root becomes on a volume with root squash.
pub const NOBODY: u32 = 65534;

/// On whose rights something is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What is to be guarded: the part of an inode that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded<'a> {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub directory: bool,
    /// Its ACL, if it has one that the mode cannot say.
    pub extended: Option<&'a Extended>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

impl Wanted {
    pub const READ: Wanted = Wanted { read: true, write: false, execute: false };
    pub const WRITE: Wanted = Wanted { read: false, write: true, execute: false };
    pub const EXECUTE: Wanted = Wanted { read: false, write: false, execute: true };
    /// To change the entries of a directory.
    pub const WRITE_EXECUTE: Wanted = Wanted { read: false, write: true, execute: true };

    /// From the mask of access(2).
    pub fn from_mask(mask: u32) -> Wanted {
        Wanted { read: mask & 4 != 0, write: mask & 2 != 0, execute: mask & 1 != 0 }
    }

    fn bits(self) -> u32 {
        u32::from(self.read) << 2 | u32::from(self.write) << 1 | u32::from(self.execute)
    }
}

impl Identity {
    pub const ROOT: Identity = Identity { uid: 0, gid: 0, groups: Vec::new() };

    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// As seen by a volume that does not trust the root of its clients: neither user nor group 0 mean anything.
    pub fn squashed(self) -> Identity {
        if self.is_root() {
            return Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
        }
        let squash = |gid: u32| if gid == 0 { NOBODY } else { gid };
        let groups = self.groups.into_iter().map(squash).collect();
        Identity { uid: self.uid, gid: squash(self.gid), groups }
    }

    fn owns(&self, guarded: Guarded<'_>) -> bool {
        self.is_root() || self.uid == guarded.uid
    }
}

/// Refuses with `AccessDenied` what mode and ACL do not allow. Only the first class that fits counts.
pub fn check(identity: &Identity, guarded: Guarded<'_>, wanted: Wanted) -> Result<()> {
    if identity.is_root() {
        let executable = guarded.directory || guarded.mode & 0o111 != 0;
        return if wanted.execute && !executable { Err(Error::AccessDenied) } else { Ok(()) };
    }
    let Guarded { gid, mode, .. } = guarded;
    let permits = |bits: u32| wanted.bits() & !bits == 0;
    let permitted = match guarded.extended {
        _ if identity.uid == guarded.uid => permits(mode >> 6),
        // As Linux does: with an empty mask it looks at the mode alone, so that who is named counts as one of the others.
        Some(extended) if mode & 0o070 != 0 => extended.permits(identity, gid, mode, wanted.bits()),
        _ if identity.in_group(gid) => permits(mode >> 3),
        _ => permits(mode),
    };
    if permitted { Ok(()) } else { Err(Error::AccessDenied) }
}

/// Refuses with `NotPermitted` what only the owner and root may do.
pub fn check_owner(identity: &Identity, guarded: Guarded<'_>) -> Result<()> {
    if identity.owns(guarded) { Ok(()) } else { Err(Error::NotPermitted) }
}

/// Refuses to take an entry out of a sticky directory to all but the owner of either, and root.
pub fn check_sticky(identity: &Identity, directory: Guarded<'_>, entry: Guarded<'_>) -> Result<()> {
    let free = directory.mode & STICKY == 0 || identity.owns(directory) || identity.owns(entry);
    if free { Ok(()) } else { Err(Error::NotPermitted) }
}

/// Refuses a change of owner or group: root may do all; the owner may give the file to a group of
/// theirs, and away to anybody where the volume allows that (`chown_non_root`).
pub fn check_chown(
    identity: &Identity,
    guarded: Guarded<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
    chown_non_root: bool,
) -> Result<()> {
    if identity.is_root() {
        return Ok(());
    }
    let own = identity.uid == guarded.uid;
    let uid_stays = uid.is_none_or(|uid| uid == guarded.uid);
    let gid_is_ours = gid.is_none_or(|gid| gid == guarded.gid || identity.in_group(gid));
    if own && (chown_non_root || (uid_stays && gid_is_ours)) {
        return Ok(());
    }
    Err(Error::NotPermitted)
}

/// What is left of the mode of a file of group `gid` when it changes its owner, or is written by somebody other than
/// root. Without group execution the sgid bit means something else, and stays for members of the group.
pub fn without_set_ids(identity: &Identity, gid: u32, mode: u32) -> u32 {
    let runs_as_group = mode & 0o010 != 0;
    let is_member = identity.is_root() || identity.in_group(gid);
    let sgid = if runs_as_group || !is_member { SGID } else { 0 };
    mode & !(SUID | sgid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn who(uid: u32, gid: u32, groups: &[u32]) -> Identity {
        Identity { uid, gid, groups: groups.to_vec() }
    }

    fn file(uid: u32, gid: u32, mode: u32) -> Guarded<'static> {
        Guarded { uid, gid, mode, directory: false, extended: None }
    }

    #[test]
    fn only_the_first_class_that_fits_counts() {
        let denied = Err(Error::AccessDenied);
        let owner_shut_out = file(1, 2, 0o077);
        assert_eq!(check(&who(1, 2, &[]), owner_shut_out, Wanted::READ), denied);
        assert_eq!(check(&who(9, 9, &[2]), owner_shut_out, Wanted::READ), Ok(()));
        let group_shut_out = file(1, 2, 0o707);
        assert_eq!(check(&who(9, 9, &[3, 2]), group_shut_out, Wanted::READ), denied);
        assert_eq!(check(&who(9, 9, &[3]), group_shut_out, Wanted::READ), Ok(()));
    }

    #[test]
    fn root_executes_only_what_somebody_may_execute() {
        assert!(check(&Identity::ROOT, file(1, 1, 0), Wanted::READ).is_ok());
        assert!(check(&Identity::ROOT, file(1, 1, 0o666), Wanted::EXECUTE).is_err());
        assert!(check(&Identity::ROOT, file(1, 1, 0o001), Wanted::EXECUTE).is_ok());
        let directory = Guarded { directory: true, ..file(1, 1, 0) };
        assert!(check(&Identity::ROOT, directory, Wanted::EXECUTE).is_ok());
    }

    #[test]
    fn a_sticky_directory_keeps_entries_from_strangers() {
        let directory = Guarded { directory: true, ..file(1, 1, 0o1777) };
        let entry = file(2, 2, 0o666);
        for (uid, allowed) in [(0, true), (1, true), (2, true), (3, false)] {
            assert_eq!(check_sticky(&who(uid, 7, &[]), directory, entry).is_ok(), allowed, "{uid}");
        }
        let open = Guarded { mode: 0o777, ..directory };
        assert!(check_sticky(&who(3, 7, &[]), open, entry).is_ok());
    }

    #[test]
    fn an_owner_gives_away_the_group_but_not_the_file() {
        let mine = file(1, 2, 0o644);
        let me = who(1, 2, &[5]);
        assert!(check_chown(&me, mine, Some(1), Some(5), false).is_ok());
        assert!(check_chown(&me, mine, None, Some(6), false).is_err());
        assert!(check_chown(&me, mine, Some(3), None, false).is_err());
        assert!(check_chown(&me, mine, Some(3), Some(6), true).is_ok());
        assert!(check_chown(&who(4, 2, &[]), mine, None, Some(2), true).is_err());
    }

    #[test]
    fn sgid_without_group_execution_stays_for_members() {
        let (member, stranger) = (who(1, 9, &[2]), who(1, 9, &[3]));
        for who in [&Identity::ROOT, &member, &stranger] {
            assert_eq!(without_set_ids(who, 2, 0o6755), 0o755);
            assert_eq!(without_set_ids(who, 2, 0o1777), 0o1777);
        }
        assert_eq!(without_set_ids(&Identity::ROOT, 2, 0o6745), 0o2745);
        assert_eq!(without_set_ids(&member, 2, 0o6745), 0o2745);
        assert_eq!(without_set_ids(&stranger, 2, 0o6745), 0o745);
    }

    #[test]
    fn a_squashed_root_is_nobody() {
        assert_eq!(who(0, 0, &[4]).squashed(), who(NOBODY, NOBODY, &[]));
        assert_eq!(who(1, 2, &[4]).squashed(), who(1, 2, &[4]));
        assert_eq!(who(1, 0, &[4, 0]).squashed(), who(1, NOBODY, &[4, NOBODY]));
    }

    fn identities() -> impl Strategy<Value = Identity> {
        (1..4u32, 0..4u32, proptest::collection::vec(0..4u32, 0..3))
            .prop_map(|(uid, gid, groups)| Identity { uid, gid, groups })
    }

    fn guarded() -> impl Strategy<Value = Guarded<'static>> {
        (0..4u32, 0..4u32, 0..0o10000u32, any::<bool>())
            .prop_map(|(uid, gid, mode, directory)| Guarded { directory, ..file(uid, gid, mode) })
    }

    fn wanted() -> impl Strategy<Value = Wanted> {
        (0..8u32).prop_map(Wanted::from_mask)
    }

    proptest! {
        /// What is allowed together is allowed piece by piece, and the other way round.
        #[test]
        fn rights_add_up(who in identities(), at in guarded(), a in wanted(), b in wanted()) {
            let both = Wanted::from_mask(a.bits() | b.bits());
            let each = check(&who, at, a).is_ok() && check(&who, at, b).is_ok();
            prop_assert_eq!(check(&who, at, both).is_ok(), each);
        }

        /// A bit of the mode that is set never takes a right away.
        #[test]
        fn a_wider_mode_never_refuses_more(
            who in identities(), at in guarded(), more in 0..0o1000u32, want in wanted()
        ) {
            let wider = Guarded { mode: at.mode | more, ..at };
            prop_assert!(check(&who, at, want).is_err() || check(&who, wider, want).is_ok());
        }

        #[test]
        fn everybody_may_do_what_all_bits_allow(who in identities(), at in guarded(), want in wanted()) {
            let open = Guarded { mode: 0o777, ..at };
            prop_assert!(check(&who, open, want).is_ok());
        }

        /// The order of groups and their repetition mean nothing.
        #[test]
        fn groups_are_a_set(who in identities(), at in guarded(), want in wanted()) {
            let mut groups = who.groups.clone();
            groups.reverse();
            groups.extend(who.groups.clone());
            let same = Identity { groups, ..who.clone() };
            prop_assert_eq!(check(&who, at, want), check(&same, at, want));
        }
    }
}
