//! What is to be given back to the MRC and could not be, as it was away: it is asked again until that is done, or the
//! session that held it is gone.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use xtfs_core::{Error, Result, SessionId};

use crate::method::Method;
use crate::mrc::Mrc;

#[derive(Default)]
pub(crate) struct Owed {
    /// The first is being paid.
    debts: Mutex<VecDeque<Arc<dyn Debt>>>,
    more: Notify,
}

/// A change that gives something back.
trait Debt: Send + Sync {
    fn pay<'a>(&'a self, mrc: &'a Mrc) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

struct GiveBack<M: Method, T> {
    session: SessionId,
    request: M::Request,
    /// Dropped when it is done.
    _until: T,
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owed({})", self.debts.lock().len())
    }
}

impl<M: Method, T: Send + Sync> Debt for GiveBack<M, T> {
    fn pay<'a>(&'a self, mrc: &'a Mrc) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            match mrc.change_in::<M>(self.session, self.request.clone(), mrc.deadline()).await {
                // What a session had goes with it.
                Ok(_) | Err(Error::SessionLost) => Ok(()),
                Err(err) if err.is_retryable() => Err(err),
                Err(err) => {
                    tracing::error!(method = M::NAME, %err, "the MRC does not take it back");
                    Ok(())
                }
            }
        })
    }
}

impl Mrc {
    /// Gives back what `session` has. Asked for more than once it must hit nothing newer. If the MRC is away, it is
    /// given back later. `until` is dropped when it is done.
    ///
    /// Once somebody has waited for the MRC in vain nobody else does: a process that is killed closes its files one
    /// after the other, and would not be gone before it has waited for each.
    pub(crate) async fn give_back<M: Method>(
        &self,
        session: SessionId,
        request: M::Request,
        until: impl Send + Sync + 'static,
    ) {
        let debt = GiveBack::<M, _> { session, request, _until: until };
        if self.owed.debts.lock().is_empty() {
            let Err(err) = debt.pay(self).await else { return };
            tracing::warn!(method = M::NAME, %err, "giving it back when the MRC is there again");
        }
        self.owed.debts.lock().push_back(Arc::new(debt));
        self.owed.more.notify_one();
    }
}

/// Runs until `stop`.
pub(crate) async fn keep_paid(mrc: Arc<Mrc>, stop: CancellationToken) {
    loop {
        let first = mrc.owed.debts.lock().front().cloned();
        let Some(debt) = first else {
            tokio::select! {
                () = mrc.owed.more.notified() => continue,
                () = stop.cancelled() => return,
            }
        };
        let paid = tokio::select! {
            paid = debt.pay(&mrc) => paid,
            () = stop.cancelled() => return,
        };
        if paid.is_ok() {
            mrc.owed.debts.lock().pop_front();
        }
    }
}
