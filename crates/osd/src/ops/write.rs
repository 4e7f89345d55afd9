//! Writes part of a column; the store checks the sums before it changes anything.

use xtfs_core::{Error, Result};
use xtfs_proto::v1;

use super::io_reply;
use crate::request::Write;
use crate::store::{Fence, Store};

pub(crate) fn write(store: &Store, fence: Fence, write: &Write) -> Result<v1::IoReply> {
    // Before the write: a sync that fails in between changes the number, and then the client must
    // not believe that what it sent belongs to the new one.
    let boot = store.boot();
    let data = std::slice::from_ref(&write.data);
    let Write { column, offset, ref sums, mtime, sync, .. } = *write;
    let state = store.write(column, fence, offset, data, sums, mtime)?;
    if sync {
        store.sync(&[column])?;
        if store.boot() != boot {
            return Err(Error::Unavailable("a sync failed meanwhile; write again".into()));
        }
    }
    Ok(io_reply(state, boot))
}
