//! What goes on without a request: each worker is a task that ends with the service.

mod backoff;
mod deletion;
mod expiry;
mod garbage;
mod purge;
mod settlement;
mod telling;

use std::sync::Arc;

pub(crate) use backoff::Backoff;

use crate::mrc::Mrc;

pub(crate) fn start(mrc: &Arc<Mrc>) {
    mrc.tasks.spawn(expiry::run(mrc.clone()));
    mrc.tasks.spawn(settlement::run(mrc.clone()));
    mrc.tasks.spawn(deletion::run(mrc.clone()));
    mrc.tasks.spawn(garbage::run(mrc.clone()));
    mrc.tasks.spawn(purge::run(mrc.clone()));
    mrc.tasks.spawn(telling::run(mrc.clone()));
}
