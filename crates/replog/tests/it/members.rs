//! Groups of several members in this process, over a network of direct calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{
    Fatal, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{
    BasicNode, ChangeMembers, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote,
};
use xtfs_core::Error;
use xtfs_replog::{Birth, Config, Durability, Raft, Replog, Types};

use crate::counter::{Command, List, Reply, config, items};
use crate::eventually;

type Members = Arc<Mutex<BTreeMap<u64, Raft>>>;
type RpcError = RPCError<u64, BasicNode, RaftError<u64>>;

/// Calls reach the members that are in the map.
#[derive(Clone, Default)]
struct Direct(Members);

struct Connection {
    members: Members,
    target: u64,
}

impl Connection {
    fn target(&self) -> Result<Raft, Unreachable> {
        let target = self.members.lock().unwrap().get(&self.target).cloned();
        target.ok_or_else(|| Unreachable::new(&std::io::Error::other("it is down")))
    }

    fn remote(&self, err: RaftError<u64>) -> RpcError {
        RPCError::RemoteError(RemoteError::new(self.target, err))
    }
}

impl RaftNetworkFactory<Types> for Direct {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Connection {
        Connection { members: Arc::clone(&self.0), target }
    }
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        self.target()?.append_entries(request).await.map_err(|err| self.remote(err))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        self.target()?.vote(request).await.map_err(|err| self.remote(err))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let target = self.target()?;
        let stopped = |_| Unreachable::new(&std::io::Error::other("it is stopping"));
        let files = target.begin_receiving_snapshot().await.map_err(stopped)?;
        let (from, to) = (snapshot.snapshot.path().unwrap(), files.path().unwrap());
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        let snapshot = Snapshot { meta: snapshot.meta, snapshot: files };
        let installed = target.install_full_snapshot(vote, snapshot).await;
        Ok(installed.map_err(|_| Unreachable::new(&std::io::Error::other("it is stopping")))?)
    }
}

struct Group {
    dir: tempfile::TempDir,
    network: Direct,
    config: Config,
    members: Vec<Option<Arc<Replog<List>>>>,
}

impl Group {
    async fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut group = Group { dir, network: Direct::default(), config, members: vec![None] };
        group.start(0).await;
        group
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.dir.path().join(slot.to_string())
    }

    async fn start(&mut self, slot: usize) {
        let birth = if slot == 0 { Birth::Found } else { Birth::Join };
        let config = Config { birth, address: format!("member-{slot}"), ..self.config.clone() };
        let path = self.path(slot);
        let member = Replog::open_member(&path, config, List, self.network.clone()).await.unwrap();
        self.network.0.lock().unwrap().insert(member.member(), member.raft().clone());
        self.members.resize(self.members.len().max(slot + 1), None);
        self.members[slot] = Some(member);
    }

    /// As `kill -9` does.
    async fn kill(&mut self, slot: usize) {
        let member = self.members[slot].take().unwrap();
        self.network.0.lock().unwrap().remove(&member.member());
        drop(member);
        let path = self.path(slot);
        eventually(|| released(&path)).await;
    }

    fn at(&self, slot: usize) -> &Replog<List> {
        self.members[slot].as_ref().unwrap()
    }

    async fn add_learner(&self, leader: usize, slot: usize) {
        let node = BasicNode::new(format!("member-{slot}"));
        self.at(leader).raft().add_learner(self.at(slot).member(), node, true).await.unwrap();
    }

    async fn add(&mut self, leader: usize, slot: usize) {
        self.start(slot).await;
        self.add_learner(leader, slot).await;
        let voters: BTreeSet<_> = self.members.iter().flatten().map(|m| m.member()).collect();
        self.at(leader).raft().change_membership(voters, false).await.unwrap();
    }

    async fn append(&self, slot: usize, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let at = self.at(slot);
            let receipt = at.propose(Command::Append(number), Durability::Lazy).await.unwrap();
            assert_eq!(receipt.reply, Reply::Length(number + 1));
        }
    }

    async fn leader(&self) -> usize {
        let mut leader = None;
        eventually(|| {
            leader = self.members.iter().position(|member| {
                let metrics = member.as_ref().map(|m| m.raft().metrics().borrow().clone());
                metrics.is_some_and(|m| m.current_leader == Some(m.id))
            });
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }
}

/// Whether no process has the store below `path` open.
fn released(path: &Path) -> bool {
    let stores = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    stores.filter(|path| path.join("LOCK").exists()).all(|store| {
        let options = xtfs_kv::RocksOptions::default();
        !matches!(xtfs_kv::RocksKv::open(&store, options), Err(Error::Busy(_)))
    })
}

fn quick() -> Config {
    Config {
        heartbeat: Duration::from_millis(100),
        election: Duration::from_millis(400),
        ..config()
    }
}

#[tokio::test]
async fn with_a_second_member_every_entry_is_synced() {
    let mut group = Group::new(quick()).await;
    group.append(0, 0..3).await;
    let alone = group.at(0).status();
    assert!(alone.durable < alone.index, "{alone:?}");

    // A learner counts: what it was sent must not vanish here.
    group.start(1).await;
    group.add_learner(0, 1).await;
    group.append(0, 3..6).await;
    let status = group.at(0).status();
    assert_eq!(status.durable, status.index);
    eventually(|| group.at(1).view(items).len() == 6).await;
    let follower = group.at(1).status();
    assert_eq!(follower.durable, follower.index);
    assert_eq!(follower.term_start, status.term_start);

    // Alone again.
    let others = ChangeMembers::RemoveNodes(BTreeSet::from([group.at(1).member()]));
    group.at(0).raft().change_membership(others, false).await.unwrap();
    group.append(0, 6..8).await;
    let status = group.at(0).status();
    assert!(status.durable < status.index, "{status:?}");
}

#[tokio::test]
async fn three_members_lose_nothing_when_their_leader_dies() {
    let mut group = Group::new(quick()).await;
    group.append(0, 0..5).await;
    group.add(0, 1).await;
    group.add(0, 2).await;
    group.append(0, 5..10).await;
    let before = group.at(0).status();
    group.at(0).barrier().await.unwrap();
    let refused = group.at(1).barrier().await;
    assert_eq!(refused, Err(Error::NotLeader { leader: Some("member-0".to_owned()) }));
    let refused = group.at(1).propose(Command::Append(0), Durability::Lazy).await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");

    group.kill(0).await;
    let leader = group.leader().await;
    group.at(leader).barrier().await.unwrap();
    assert_eq!(group.at(leader).view(items), (0..10).collect::<Vec<_>>());
    group.append(leader, 10..12).await;
    let after = group.at(leader).status();
    assert!(after.term > before.term && after.term_start > before.index, "{before:?} {after:?}");

    // It comes back as one of several: under the vote that it gave, not as the leader it was.
    group.start(0).await;
    eventually(|| group.at(0).view(items).len() == 12).await;
}

#[tokio::test]
async fn one_confirmation_serves_many_reads() {
    let mut group = Group::new(quick()).await;
    group.add(0, 1).await;
    let leader = group.members[0].clone().unwrap();
    let reads: Vec<_> = (0..200)
        .map(|_| {
            let leader = Arc::clone(&leader);
            tokio::spawn(async move { leader.barrier().await })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    // Without the other nobody knows whether this is still the leader.
    group.kill(1).await;
    let read = tokio::time::timeout(Duration::from_secs(10), leader.barrier()).await;
    assert!(!matches!(read, Ok(Ok(()))), "{read:?}");
}

#[tokio::test]
async fn a_member_far_behind_gets_the_files() {
    let mut group = Group::new(Config { entries_kept: 10, ..quick() }).await;
    group.append(0, 0..100).await;
    let purged = || group.at(0).raft().metrics().borrow().purged.map_or(0, |id| id.index);
    eventually(|| purged() > 50).await;
    // What is applied while the files are made is in them together with its position, or not.
    let writer = group.members[0].clone().unwrap();
    let writing = tokio::spawn(async move {
        for _ in 0..500 {
            writer.propose(Command::Refuse, Durability::Lazy).await.unwrap();
        }
    });
    group.add(0, 1).await;
    writing.await.unwrap();
    eventually(|| group.at(1).view(items).len() == 100).await;
    assert!(group.path(1).join("current").exists(), "no snapshot was installed");
    group.append(0, 100..110).await;
    eventually(|| group.at(1).view(items).len() == 110).await;

    // What was installed is there after a restart, and what it replaced is gone.
    let member = group.at(1).member();
    group.kill(1).await;
    group.start(1).await;
    assert_eq!(group.at(1).member(), member);
    eventually(|| group.at(1).view(items).len() == 110).await;
    let left: Vec<_> = fs::read_dir(group.path(1)).unwrap().map(|e| e.unwrap().path()).collect();
    let stores = left.iter().filter(|path| path.is_dir()).count();
    assert_eq!(stores, 1, "{left:?}");
    // Nor is anything left of it where it came from.
    let directories = || {
        let entries = fs::read_dir(group.path(0)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).count()
    };
    eventually(|| directories() == 1).await;
}

#[tokio::test]
async fn a_wiped_member_comes_back_as_another() {
    let mut group = Group::new(quick()).await;
    group.add(0, 1).await;
    group.add(0, 2).await;
    group.append(0, 0..5).await;
    let old = group.at(2).member();
    group.kill(2).await;
    fs::remove_dir_all(group.path(2)).unwrap();
    // Under its old name it could vote again in a term in which it has voted.
    group.add(0, 2).await;
    assert_ne!(group.at(2).member(), old);
    group.append(0, 5..8).await;
    eventually(|| group.at(2).view(items).len() == 8).await;
    let members = group.at(0).raft().metrics().borrow().membership_config.clone();
    assert!(members.membership().get_node(&old).is_none(), "{members}");
}

#[tokio::test]
async fn members_end_in_the_same_state() {
    let mut group = Group::new(quick()).await;
    group.add(0, 1).await;
    for number in 0..20 {
        let command = if number % 3 == 0 { Command::Refuse } else { Command::Append(number) };
        group.at(0).propose(command, Durability::Lazy).await.unwrap();
    }
    let everything = |slot: usize| {
        group.at(slot).view(|read| read.scan(&xtfs_kv::KeyRange::prefix(b""), usize::MAX).unwrap())
    };
    eventually(|| group.at(1).status().index == group.at(0).status().index).await;
    assert_eq!(everything(0), everything(1));
}
