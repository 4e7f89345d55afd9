//! Sessions begin and end.

use xtfs_core::access::Identity;
use xtfs_core::{Error, FileEpoch, Floor, Ino, RequestNumber, Result, SessionId, VolumeId};

use super::set_attr::raised;
use crate::state::change::Change;
use crate::state::command::{Answer, EndSession, OpenSession};
use crate::state::inode::{Inode, Pending};
use crate::state::keys::{last_number, load, store};
use crate::state::machine::Group;
use crate::state::rows::all;
use crate::state::session::{Opens, Session};

pub(in crate::state) fn open(
    group: &mut Group<'_, '_>,
    volume: VolumeId,
    open: OpenSession,
) -> Result<Answer> {
    let OpenSession { session, client, description } = open;
    group.live_volume(volume)?;
    let client_key = group.keys.client(client);
    if let Some(known) = load::<SessionId>(group.tx, &client_key)? {
        let known: Session = load(group.tx, &group.keys.session(known))?
            .ok_or_else(|| Error::Corrupt(format!("client {client} has no session row")))?;
        if known.volume != volume {
            return Err(Error::Invalid("the client has a session at another volume".into()));
        }
        return Ok(Answer::Session(known));
    }
    let opened = Session {
        session,
        client,
        volume,
        description,
        opened: group.now,
        lowest_unanswered: RequestNumber(1),
        results: 0,
    };
    store(group.tx, &client_key, &session)?;
    store(group.tx, &group.keys.session(session), &opened)?;
    Ok(Answer::Session(opened))
}

pub(in crate::state) fn end(group: &mut Group<'_, '_>, end: EndSession) -> Result<Answer> {
    let session: Session =
        load(group.tx, &group.keys.session(end.session))?.ok_or(Error::SessionLost)?;
    for (key, _) in all(group.tx, &group.keys.results(end.session))? {
        group.tx.delete(&key);
    }
    group.tx.delete(&group.keys.client(session.client));
    group.tx.delete(&group.keys.session(end.session));
    // A volume that is gone took its opens along.
    if let Some(volume) = load(group.tx, &group.keys.volume(session.volume))? {
        let mut change = group.change(volume, Identity::ROOT, Some(end.session));
        let opened = all(&*change.tx, &change.keys.opened_by(end.session))?;
        for (key, _) in opened {
            let_go(&mut change, Ino(last_number(&key)?), end)?;
        }
    }
    Ok(Answer::Done)
}

/// R4: what a dead writer wrote is known to the columns only, and it may still be writing.
fn let_go(change: &mut Change<'_, '_>, ino: Ino, end: EndSession) -> Result<()> {
    let opens = change.rows().opens(ino, end.session)?;
    change.put_opens(ino, end.session, Opens::default())?;
    let Some(mut inode) = load::<Inode>(change.tx, &change.keys.inode(ino))? else {
        return Ok(());
    };
    if opens.write > 0 && inode.nlink > 0 {
        fence(change, &mut inode, end.epoch)?;
    }
    change.reap(&inode)
}

/// R4: from here on `epoch` is the file's, and it is settled before anybody opens it for writing.
pub(super) fn fence(
    change: &mut Change<'_, '_>,
    inode: &mut Inode,
    epoch: FileEpoch,
) -> Result<()> {
    // While a cut has not reached all columns, a higher epoch would cut those that it has reached again.
    let cutting = inode.floor != Floor::NONE;
    if !cutting {
        inode.file_epoch = raised(inode.file_epoch, epoch);
    }
    inode.dirty = true;
    change.put_inode(inode)?;
    let pending = Pending { seal: true, settle: true, dead_writer: true, fence: cutting };
    change.put_pending(inode.ino, pending)
}
