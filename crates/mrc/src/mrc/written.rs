//! Files that are being written: their columns know more than the state.

use std::time::Duration;

use futures_util::future::try_join_all;
use xtfs_core::{ColumnId, Error, FileEpoch, Floor, Ino, Result, Timestamp, VolumeId};

use super::grants::columns;
use super::{Mrc, OSD_DEADLINE_MAX};
use crate::extent::{ColumnAnswer, together};
use crate::service::Call;
use crate::state::command::{Settle, WriteReport};
use crate::state::{Action, Answer, Inode, Layout};

impl Mrc {
    /// What applications see of an inode: of a file that is being written, from its columns (R2).
    pub(crate) async fn seen(&self, call: &Call, volume: VolumeId, inode: &Inode) -> Result<Inode> {
        let mut seen = self.seen_all(call, volume, &[inode]).await?;
        Ok(seen.pop().expect("one for each inode"))
    }

    /// The same for a client that says what it wrote.
    pub(crate) async fn seen_by_writer(
        &self,
        call: &Call,
        volume: VolumeId,
        inode: &Inode,
        report: Option<&WriteReport>,
    ) -> Result<Inode> {
        match report {
            Some(report) if inode.is_told_by(call.header.session, report) => {
                Ok(inode.with_report(report))
            }
            _ => self.seen(call, volume, inode).await,
        }
    }

    /// The same of several, with one request to each target.
    pub(crate) async fn seen_all(
        &self,
        call: &Call,
        volume: VolumeId,
        inodes: &[&Inode],
    ) -> Result<Vec<Inode>> {
        let limit = call.left().min(OSD_DEADLINE_MAX);
        let (mut wanted, mut sealing) = (Vec::new(), Vec::new());
        for inode in inodes.iter().filter(|inode| inode.writing) {
            let Some(layout) = &inode.layout else { continue };
            if inode.floor == Floor::NONE {
                wanted.extend(self.placed_columns(volume, layout)?);
            } else {
                // Who sees the cut must find no write gone afterwards that was made under the epoch before it.
                sealing.push(self.seal_for(volume, inode, layout, limit));
            }
        }
        let sealed = try_join_all(sealing);
        let (mut answers, sealed) = tokio::try_join!(self.osds.stat(wanted, limit), sealed)?;
        answers.extend(sealed.into_iter().flatten());
        let seen = |inode: &&Inode| match &inode.layout {
            Some(layout) if inode.writing => {
                let columns = columns(volume, layout);
                let own: Vec<_> = columns.filter_map(|id| answers.get(&id).copied()).collect();
                inode.with_columns(&together(inode, layout, &own))
            }
            _ => (*inode).clone(),
        };
        Ok(inodes.iter().map(seen).collect())
    }

    /// What the columns answer when they are sealed with the file's epoch and floor.
    async fn seal_for(
        &self,
        volume: VolumeId,
        inode: &Inode,
        layout: &Layout,
        limit: Duration,
    ) -> Result<Vec<(ColumnId, ColumnAnswer)>> {
        let sets = self.sets_of(layout)?;
        let answers = match self.osds.seal(volume, inode, layout, &sets, limit).await {
            // It was cut again since: the columns have met what is newer than this.
            Err(Error::StaleFileEpoch { .. }) => {
                let answers = self.osds.stat(self.placed_columns(volume, layout)?, limit).await?;
                return Ok(answers.into_iter().collect());
            }
            answers => answers?,
        };
        let (data, version) = (layout.data, layout.version);
        let column = |index| ColumnId { volume, data, index, version };
        Ok(answers.into_iter().map(|answer| (column(answer.index), answer)).collect())
    }

    /// Newest mtime of the columns of a file that is being written (R5).
    pub(crate) async fn columns_mtime(
        &self,
        call: &Call,
        volume: VolumeId,
        ino: Ino,
        report: Option<&WriteReport>,
    ) -> Result<Option<Timestamp>> {
        let inode = self.inode(volume, ino)?;
        if let Some(report) = report.filter(|it| inode.is_told_by(call.header.session, it)) {
            return Ok(Some(report.mtime));
        }
        let Some(layout) = inode.layout.as_ref().filter(|_| inode.writing) else {
            return Ok(None);
        };
        let wanted = self.placed_columns(volume, layout)?;
        let answers = self.osds.stat(wanted, call.left().min(OSD_DEADLINE_MAX)).await?;
        let newest = answers.values().filter_map(|answer| answer.mtime).max();
        Ok(Some(newest.unwrap_or_default()))
    }

    /// Seals all columns with the file's epoch and floor, and ends what is pending with what they
    /// answer (R3, R4, R6). Whether nothing is pending afterwards.
    pub(crate) async fn settle(&self, volume: VolumeId, ino: Ino, limit: Duration) -> Result<bool> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let (inode, pending) = self.view(|view| {
                let volume = view.any_volume(volume)?;
                Ok((volume.inode(ino)?, volume.pending(ino)?))
            })?;
            let Some(layout) = &inode.layout else {
                return Ok(true);
            };
            let sets = self.sets_of(layout)?;
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let answers = self.osds.seal(volume, &inode, layout, &sets, left).await?;
            let fence = match pending.fence {
                true => Some(FileEpoch(self.number().await?)),
                false => None,
            };
            let settle = Settle {
                ino,
                file_epoch: inode.file_epoch,
                round: inode.round,
                sealed: true,
                columns: Some(together(&inode, layout, &answers)),
                fence,
            };
            let answer = self.command(volume, Action::Settle(settle)).await?;
            // A dead writer's locks can be had now.
            self.locks_changed(volume, ino);
            match answer {
                // The cut has reached all columns; now they are to be sealed against the dead writer.
                Answer::Settled(false) if pending.fence => {}
                Answer::Settled(all) => return Ok(all),
                other => return Err(Error::Internal(format!("a settlement answered {other:?}"))),
            }
        }
    }
}
