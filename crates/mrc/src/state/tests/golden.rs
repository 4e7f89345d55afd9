//! Bytes on disk. A shipped format is never reinterpreted: if one of these breaks, a new format byte
//! and a migration are due, not a new golden value.

use uuid::Uuid;
use xtfs_core::TargetId;

use super::*;
use crate::state::keys::{Keys, decode, encode, load_result};
use crate::state::lock::{LockKind, LockOwner, LockRange, OwnLock};
use crate::state::machine::Counters;
use crate::state::session::{AppendTurn, Opens, Session};
use crate::state::volume::{Usage, Volume};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn check<T>(value: &T, golden: &str)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    check_at(b"", value, golden);
}

#[track_caller]
fn check_at<T>(key: &[u8], value: &T, golden: &str)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(key, value).unwrap();
    assert_eq!(hex(&bytes), golden);
    assert_eq!(&decode::<T>(key, &bytes).unwrap(), value);
}

#[test]
fn keys_are_as_shipped() {
    let keys = Keys::of_volume(GroupId(1), VolumeId(0x1_0000_0002));
    let prefix = "00000001".to_owned() + "0000000100000002";
    let cases = [
        (keys.inode(Ino(3)), "690000000000000003"),
        (keys.dentry(Ino(3), b"ab"), "6400000000000000036162"),
        (keys.cookie(Ino(3), 4), "6b00000000000000030000000000000004"),
        (keys.link(Ino(3), Ino(5), 4), "6c000000000000000300000000000000050000000000000004"),
        (keys.xattr(Ino(3), b"a"), "78000000000000000361"),
        (keys.orphan(Ino(3)), "6f0000000000000003"),
        (keys.pending(Ino(3)), "700000000000000003"),
        (keys.open(Ino(3), SessionId(6)), "6800000000000000030000000000000006"),
        (keys.opened(SessionId(6), Ino(3)), "7100000000000000060000000000000003"),
        (
            keys.locks_of(Ino(3), LockOwner { session: SessionId(4), owner: 5 }),
            "66000000000000000300000000000000040000000000000005",
        ),
        (keys.usage(), "75"),
    ];
    for (key, golden) in cases {
        assert_eq!(hex(&key), format!("{prefix}{golden}"));
    }
    let group = Keys::of_group(GroupId(1));
    let prefix = "000000010000000000000000";
    let id = Uuid::from_u128(0x0123);
    let cases = [
        (group.counters(), "67".to_owned()),
        (group.gap(7), "6d0000000000000007".into()),
        (group.never_used(7), "7a0000000000000007".into()),
        (group.volume(VolumeId(2)), "760000000000000002".into()),
        (group.volume_name("v"), "6e76".into()),
        (group.session(SessionId(6)), "730000000000000006".into()),
        (group.client(ClientId(id)), format!("63{}", id.simple())),
        (group.result(SessionId(6), RequestNumber(1)), "6100000000000000060000000000000001".into()),
        (group.replica_set(ReplicaSetId(8)), "720000000000000008".into()),
        (
            group.set_of_target(TargetId(id), ReplicaSetId(8)),
            format!("74{}0000000000000008", id.simple()),
        ),
    ];
    for (key, golden) in cases {
        assert_eq!(hex(&key), format!("{prefix}{golden}"));
    }
}

fn inode() -> Inode {
    let mut inode = Inode::blank(Ino(300), Timestamp(1));
    inode.mode = 0o644;
    inode.size = 1000;
    inode.allocated = vec![4096, 0];
    inode.layout = Some(Layout {
        striping: StripeLayout::new(128 << 10, 2).unwrap(),
        data: DataNumber(5),
        version: DataVersion(0),
        sets: vec![ReplicaSetId(8), ReplicaSetId(9)],
    });
    inode
}

/// Without the last byte, which says that there are no ACLs, as the first format had it.
const INODE: &str = "ac020100a403000001e807028020000202020201000180800802050002080901ffffffffffffffffff01000000000000000100";

#[test]
fn an_inode_is_as_shipped() {
    let key = Keys::of_volume(GroupId(1), VolumeId(2)).inode(Ino(300));
    let inode = inode();
    check_at(&key, &inode, &format!("02{INODE}00"));
    let value = encode(&key, &inode).unwrap();
    let first = [&[1], &value[1..value.len() - 1]].concat();
    assert_eq!(decode::<Inode>(&key, &first).unwrap(), inode);
    let cut = [&[2], &first[1..]].concat();
    assert!(matches!(decode::<Inode>(&key, &cut), Err(Error::Corrupt(_))));
}

#[test]
fn a_result_is_as_shipped() {
    let key = Keys::of_group(GroupId(1)).result(SessionId(6), RequestNumber(1));
    let opened = Answer::Opened(Box::new(Opened { inode: inode(), created: true, write: false }));
    let cases: [(Reply, String); 5] = [
        (Ok(Answer::Done), "020000".into()),
        (Ok(Answer::Inode(Box::new(inode()))), format!("020001{INODE}00")),
        (Ok(opened), format!("020002{INODE}000100")),
        (Err(Error::Exists), "020101".into()),
        // The last that is remembered: a variant that is put before it would change its meaning.
        (Err(Error::ValueTooLong), "020116".into()),
    ];
    for (reply, golden) in cases {
        check_at(&key, &reply, &golden);
    }
}

#[test]
fn a_result_of_the_first_format_is_forgotten_and_stops_nothing() {
    let mut world = World::new();
    let key = Keys::of_group(GROUP).result(world.session, RequestNumber(1));
    let mut tx = Transaction::new(&world.kv);
    let mut opened = encode(&key, &inode()).unwrap();
    opened.splice(0..1, [1, 0, 2]);
    // Where the ACLs are now there was the first of two flags.
    let end = opened.len() - 1;
    opened.splice(end.., [1, 1]);
    tx.put(&key, &opened);
    world.kv.write(tx.into_batch(), Durability::Process).unwrap();
    assert!(matches!(load_result(&world.kv, &key), Ok(Some(Err(Error::Invalid(_))))));
    refused(world.mkdir(Ino::ROOT, "d"), &Error::Invalid(String::new()));
    world.mkdir(Ino::ROOT, "d").unwrap();
}

#[test]
fn small_rows_are_as_shipped() {
    check(&Dentry { ino: Ino(300), kind: FileKind::Directory, cookie: 2 }, "01ac020102");
    check(&Orphan::Deleting, "0101");
    check(&Pending { seal: true, settle: false, dead_writer: true, fence: false }, "0101000100");
    check(&Opens { read: 1, write: 2 }, "010102");
    check(&AppendTurn { session: SessionId(6), turn: 300 }, "0106ac02");
    let lock = OwnLock {
        kind: LockKind::Exclusive,
        range: LockRange::new(1, 300).unwrap(),
        pid: 5,
        process: 6,
    };
    check(&vec![lock], "01010101ac020506");
    check(&Usage { files: 3, bytes: 300 }, "0103ac02");
    check(&VolumeId(2), "0102");
    let client = ClientId(Uuid::from_u128(0x0123));
    let session = Session {
        session: SessionId(6),
        client,
        volume: VolumeId(2),
        description: "d".into(),
        opened: Timestamp(1),
        lowest_unanswered: RequestNumber(4),
        results: 5,
    };
    check(&session, "01061000000000000000000000000000000123020164020405");
    let member = Member { target: TargetId(client.0), state: MemberState::InSync };
    let set =
        ReplicaSet { id: ReplicaSetId(8), epoch: xtfs_core::SetEpoch(9), members: vec![member] };
    check(&set, "01080901100000000000000000000000000000012300");
    let volume = Volume {
        id: VolumeId(2),
        name: "v".into(),
        policy: World::policy(),
        created: Timestamp(1),
        purged: None,
    };
    check(&volume, "01020176808008020000000200");
    let counters = Counters { now: Timestamp(1), reserved: 300, seen: 20, volumes: 2 };
    check(&counters, "0102ac021402");
}

#[test]
fn a_row_of_another_format_or_cut_short_is_corrupt() {
    let mut bytes = encode(b"k", &Usage { files: 3, bytes: 300 }).unwrap();
    bytes[0] = 3;
    assert!(matches!(decode::<Usage>(b"k", &bytes), Err(Error::Corrupt(_))));
    assert!(matches!(decode::<Usage>(b"k", &[1]), Err(Error::Corrupt(_))));
    assert!(matches!(decode::<Usage>(b"k", &[]), Err(Error::Corrupt(_))));
}
