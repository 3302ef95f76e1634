//! The end of a workspace's time: whatever it does then, it is deleted, and who waits is told.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Workspace, locked};
use crate::error::{Error, Result};

/// What becomes of a workspace when its time is over.
#[derive(Default)]
pub struct Expiry {
    /// Set when it is deleted because its time is over.
    over: CancellationToken,
    /// It was counted among those that expired.
    counted: AtomicBool,
    /// Somebody deletes it already.
    under_way: AtomicBool,
}

impl Workspace {
    /// Whether its time is over.
    pub fn is_expired(&self) -> bool {
        locked(&self.record).expires_at.is_some_and(|at| at <= Timestamp::now())
    }

    /// Does work as long as the time lasts; what is not done by then is dropped.
    pub async fn in_its_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_expired() {
            return Err(self.expired());
        }
        tokio::select! {
            // The end first: what fails because the machine is gone has this reason.
            biased;
            () = self.expiry.over.cancelled() => Err(self.expired()),
            result = work => result,
        }
    }

    /// Tells everyone who waits that the time is over.
    pub fn expire(&self) {
        self.expiry.over.cancel();
    }

    /// Whether the caller is the one to delete it; until [`Workspace::retry_expiry`].
    pub fn begin_expiry(&self) -> bool {
        !self.expiry.under_way.swap(true, Ordering::SeqCst)
    }

    /// Deleting failed: somebody may try again.
    pub fn retry_expiry(&self) {
        self.expiry.under_way.store(false, Ordering::SeqCst);
    }

    /// Whether it is the first time that this is asked.
    pub fn count_expiry(&self) -> bool {
        !self.expiry.counted.swap(true, Ordering::SeqCst)
    }

    /// Why a call has no answer.
    pub fn expired(&self) -> Error {
        Error::Expired(self.record().title())
    }
}
