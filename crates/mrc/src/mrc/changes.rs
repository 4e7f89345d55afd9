//! Commands: a client's, and the service's own.

use std::time::{Duration, Instant};

use xtfs_core::{Error, FileEpoch, Floor, Ino, Result, SessionId, VolumeId};
use xtfs_proto::v1;
use xtfs_replog::Durability;

use super::{Asker, Mrc, OSD_DEADLINE_MAX, TRIES_MAX};
use crate::encode;
use crate::service::Call;
use crate::state::command::{EndSession, GiveSetIds, Resize, SetAttr, Touch};
use crate::state::{Action, Answer, Command, Inode};

/// How long a change with an epoch waits for its columns before it is left to the worker (R6).
const SEAL_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long a reader waits for others to forget the old atime before it stays.
const TOUCH_WAIT_MAX: Duration = Duration::from_secs(1);

impl Mrc {
    /// Carries out a command; a refusal of the state is an error here.
    pub(crate) async fn propose(
        &self,
        asker: Asker,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Answer, v1::LogStatus)> {
        let Asker { caller, origin } = asker;
        let command = Command { now: self.time.now(), caller, origin, volume, action };
        let durability = match command.durability() {
            xtfs_kv::Durability::Process => Durability::Lazy,
            xtfs_kv::Durability::Synced => Durability::Durable,
        };
        let receipt = self.log.propose(command, durability).await?;
        let log = v1::LogStatus { index: receipt.index, ..self.log_status() };
        Ok((receipt.reply?, log))
    }

    /// A command of the service itself.
    pub(crate) async fn command(&self, volume: VolumeId, action: Action) -> Result<Answer> {
        Ok(self.propose(Asker::SERVICE, volume, action).await?.0)
    }

    /// A client's mutation.
    pub(crate) async fn change(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Answer, v1::LogStatus)> {
        self.propose(call.asker(), volume, action).await
    }

    pub(crate) async fn change_done(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<v1::DoneReply> {
        let (_, log) = self.change(call, volume, action).await?;
        Ok(v1::DoneReply { log: Some(log), known: Vec::new() })
    }

    /// A mutation of what the session may know of.
    pub(crate) async fn change_known(
        &self,
        call: &Call,
        volume: VolumeId,
        inos: &[Ino],
        action: Action,
    ) -> Result<v1::DoneReply> {
        let _changing = self.exclude(call, volume, inos.iter().copied()).await?;
        let done = self.change_done(call, volume, action).await?;
        Ok(v1::DoneReply { known: self.known(call, volume, inos.iter().copied()), ..done })
    }

    /// A mutation that answers with the inode it made or changed, and changes `others` besides.
    pub(crate) async fn change_inode(
        &self,
        call: &Call,
        volume: VolumeId,
        others: &[Ino],
        action: Action,
    ) -> Result<v1::InodeReply> {
        let (inode, log) = self.change_for_inode(call, volume, action).await?;
        let mut reply = v1::InodeReply { log: Some(log), ..Default::default() };
        let (known, others) = self.known_with(call, volume, inode.ino, others);
        match known {
            Some(known) => (reply.attributes, reply.lease) = (known.attributes, known.lease),
            None => {
                let seen = self.seen(call, volume, &inode).await?;
                reply.attributes = Some(encode::attributes(&seen.attributes()));
            }
        }
        reply.known = others;
        Ok(reply)
    }

    pub(crate) async fn change_for_inode(
        &self,
        call: &Call,
        volume: VolumeId,
        action: Action,
    ) -> Result<(Inode, v1::LogStatus)> {
        let (answer, log) = self.change(call, volume, action).await?;
        Ok((inode_of(answer)?, log))
    }

    /// A size that columns must know of (R6), and set-ids that writers must know of (R12), get an epoch, and the
    /// columns are sealed with it. A silent one does not fail it: it meets the epoch before it serves again.
    pub(crate) async fn set_attr(
        &self,
        call: &Call,
        volume: VolumeId,
        mut set: SetAttr,
        size: Option<u64>,
    ) -> Result<(Inode, v1::LogStatus)> {
        let mut refused = Error::Unavailable("the file changed too often".into());
        for _ in 0..TRIES_MAX {
            if let Some(size) = size {
                let needs_epoch = self.inode(volume, set.ino)?.resize_needs_epoch(size);
                set.size = Some(Resize { size, epoch: self.epoch_if(needs_epoch).await? });
            }
            // Whatever is wrong with it, the command will say.
            let told = self.view(|view| view.volume(volume)?.must_tell_writers(set.ino, set.mode));
            let told = matches!(told, Ok(true));
            let action = match self.epoch_if(told).await? {
                Some(epoch) => Action::GiveSetIds(GiveSetIds { set: set.clone(), epoch }),
                None => Action::SetAttr(set.clone()),
            };
            match self.change(call, volume, action).await {
                Ok((answer, log)) => {
                    let inode = inode_of(answer)?;
                    if told || inode.floor != Floor::NONE {
                        self.seal(call, volume, inode.ino).await;
                    }
                    return Ok((inode, log));
                }
                Err(Error::Unavailable(why)) if size.is_some() || set.mode.is_some() => {
                    refused = Error::Unavailable(why);
                    // Data or a writer came meanwhile, or the file waits for its settlement.
                    self.settle(volume, set.ino, call.left().min(OSD_DEADLINE_MAX)).await?;
                }
                Err(err) => return Err(err),
            }
        }
        Err(refused)
    }

    async fn epoch_if(&self, needed: bool) -> Result<Option<FileEpoch>> {
        if needed { Ok(Some(FileEpoch(self.number().await?))) } else { Ok(None) }
    }

    /// After a change that comes with an epoch, all columns learn of it. One that is silent does not fail the change.
    pub(crate) async fn seal(&self, call: &Call, volume: VolumeId, ino: Ino) {
        let limit = call.left().min(SEAL_WAIT_MAX);
        if let Err(err) = self.settle(volume, ino, limit).await {
            tracing::info!(%volume, %ino, %err, "an epoch waits for a column");
            self.wake.settlement.notify_one();
        }
    }

    /// Closed or expired: what it wrote is settled by the worker (R4).
    pub(crate) async fn end_session(&self, session: SessionId) -> Result<v1::LogStatus> {
        let epoch = FileEpoch(self.number().await?);
        let end = Action::EndSession(EndSession { session, epoch });
        let (_, log) = self.propose(Asker::SERVICE, VolumeId(0), end).await?;
        self.clocks.forget(session);
        self.leases.forget(session);
        self.waiters.tell_all();
        self.appenders.tell_all();
        self.wake.settlement.notify_one();
        self.wake.deletion.notify_one();
        Ok(log)
    }

    /// The inode is read now.
    pub(crate) async fn touch(&self, call: &Call, volume: VolumeId, ino: Ino) {
        let at = self.time.now();
        self.touch_all(call, volume, vec![Touch { ino, at }]).await;
    }

    /// Moves atimes as the volume's policy says. Nothing depends on it.
    pub(crate) async fn touch_all(&self, call: &Call, volume: VolumeId, mut touched: Vec<Touch>) {
        let moved = self.view(|view| {
            let volume = view.volume(volume)?;
            touched.retain(|touch| {
                let inode = volume.inode(touch.ino);
                inode.is_ok_and(|inode| volume.atime_moves(&inode, touch.at))
            });
            Ok(())
        });
        if moved.is_err() || touched.is_empty() {
            return;
        }
        // A reader does not wait long for others.
        let patient =
            Call { deadline: call.deadline.min(Instant::now() + TOUCH_WAIT_MAX), ..call.clone() };
        let moving = async {
            let inos: Vec<_> = touched.iter().map(|touch| touch.ino).collect();
            let _changing = self.exclude(&patient, volume, inos).await?;
            self.command(volume, Action::Read(touched)).await
        };
        if let Err(err) = moving.await {
            tracing::debug!(%volume, %err, "the atime did not move");
        }
    }
}

fn inode_of(answer: Answer) -> Result<Inode> {
    match answer {
        Answer::Inode(inode) => Ok(*inode),
        other => Err(Error::Internal(format!("a change of an inode answered {other:?}"))),
    }
}
