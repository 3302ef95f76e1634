//! The daemon's end, announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once, when the daemon is about to end: what hangs up then does so because of the daemon, not
/// because its caller wants to.
#[derive(Debug, Clone, Default)]
pub struct Closing(Arc<State>);

#[derive(Debug, Default)]
struct State {
    set: AtomicBool,
    wake: Notify,
}

impl Closing {
    /// Announces the end.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        self.0.wake.notify_waiters();
    }

    /// Whether it was announced.
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Waits until it is.
    pub async fn wait(&self) {
        loop {
            let woken = self.0.wake.notified();
            tokio::pin!(woken);
            // Registered before the look: an announcement between the two is not missed.
            woken.as_mut().enable();
            if self.is_set() {
                return;
            }
            woken.await;
        }
    }
}
