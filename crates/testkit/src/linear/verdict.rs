//! All parts of a history.

use std::time::Duration;

use super::directory::Directories;
use super::file::File;
use super::history::{Call, History};
use super::report::{Rejection, shortest};
use super::search::{Answer, Event, Model, search};
use super::split::{Part, split};

/// Finds an order for each part of the history. One that takes longer than `limit` is rejected.
pub fn verdict(history: &History, limit: Duration) -> Result<(), Rejection> {
    let parts = split(&history.calls);
    parts.files.iter().try_for_each(|part| judge::<File>(part, &history.calls, limit))?;
    parts.directories.iter().try_for_each(|part| judge::<Directories>(part, &history.calls, limit))
}

fn judge<M: Model>(part: &Part<M::Op>, calls: &[Call], limit: Duration) -> Result<(), Rejection> {
    let events: Vec<Event<M::Op>> = part.events.iter().map(|(_, event)| event.clone()).collect();
    match search::<M>(&events, limit) {
        Answer::Order => Ok(()),
        Answer::NoOrder => Err(shortest::<M>(part, calls)),
        Answer::Undecided => Err(Rejection::undecided(part, calls, limit)),
    }
}
