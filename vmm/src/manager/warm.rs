//! The warm pool: machines that were booted before anybody asked for them. Their guests wait; a
//! workspace that suits one takes it over and is there at once.
//!
//! They are as the last workspace was, for the next is most often of the same kind. Each is a
//! workspace that was never acknowledged: who finds one after a crash removes it.

use std::sync::{Arc, Mutex, PoisonError};

use super::Manager;
use crate::error::{Error, Result};
use crate::workspace::Workspace;
use crate::workspace::record::Record;

/// How many machines wait, 0 when it is not set.
const WARM: &str = "PYRO_WARM";
/// As many as make sense: each has its memory.
const MOST: usize = 64;

/// The machines that wait.
pub struct Warm {
    want: usize,
    ready: Mutex<Vec<Arc<Workspace>>>,
    /// Held by the one task that makes more.
    filling: tokio::sync::Mutex<()>,
}

impl Warm {
    pub fn new() -> Result<Self> {
        let want = match std::env::var(WARM) {
            Ok(text) => text.parse().ok().filter(|want| *want <= MOST).ok_or_else(|| {
                let text = text.escape_debug();
                Error::Invalid(format!(
                    "{WARM} is '{text}': give a number of machines, 0 to {MOST}"
                ))
            })?,
            Err(_) => 0,
        };
        Ok(Self { want, ready: Mutex::default(), filling: tokio::sync::Mutex::default() })
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Workspace>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager {
    /// A machine that waits and is just what this record describes, if there is one. Those that are
    /// not will not be asked for again, and go.
    pub fn take_warm(self: &Arc<Self>, record: &Record) -> Option<Arc<Workspace>> {
        let waiting = std::mem::take(&mut *self.warm.ready());
        let (mut suiting, others): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|warm| shape(&warm.record()) == shape(record) && warm.is_running());
        others.into_iter().for_each(|other| self.discard(other));
        let taken = suiting.pop();
        self.warm.ready().append(&mut suiting);
        taken
    }

    /// Has machines like this one's wait, as many as are wanted. Returns at once.
    pub fn warm_up(self: &Arc<Self>, like: Record) {
        if self.warm.want == 0 {
            return;
        }
        let manager = self.clone();
        self.detached.spawn(async move {
            // Whoever fills already, fills.
            let Ok(_filling) = manager.warm.filling.try_lock() else { return };
            while manager.warm.ready().len() < manager.warm.want && !manager.closing.is_set() {
                match manager.warm_one(&like).await {
                    Ok(warm) => manager.warm.ready().push(warm),
                    // The next workspace boots by itself, and tells what is wrong.
                    Err(error) => return eprintln!("warm pool: {}", error.to_body().message),
                }
            }
        });
    }

    async fn warm_one(self: &Arc<Self>, like: &Record) -> Result<Arc<Workspace>> {
        let plan = self.boot_plan(&like.environment, Some(&like.image)).await?;
        let warm = self.make_waiting(like.clone()).await?;
        match warm.boot_ahead(&plan).await {
            Ok(()) => Ok(warm),
            Err(error) => {
                self.discard(warm);
                Err(error)
            }
        }
    }

    /// Ends all machines that wait.
    pub async fn cool_down(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.warm.ready());
        for warm in waiting {
            if let Err(error) = self.delete(&warm).await {
                eprintln!("warm pool: {}", error.to_body().message);
            }
        }
    }
}

/// What cannot be changed once a machine runs.
fn shape(record: &Record) -> impl PartialEq + use<> {
    let Record { backend, vcpu_count, mem_mib, disk_mib, network, .. } = *record;
    (record.image.clone(), backend, vcpu_count, mem_mib, disk_mib, network)
}
