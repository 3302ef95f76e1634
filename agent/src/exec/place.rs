//! Where programs run: the environment's mount namespace and terminals, the commands' cgroups.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cgroup::{Cgroups, Group};

/// The environment as its programs see it, held by descriptors.
#[derive(Debug)]
pub struct Inside {
    /// Its mount namespace; none where programs run in the agent's own.
    pub namespace: Option<OwnedFd>,
    /// Its `/dev/pts`, where terminals come from.
    pub terminals: OwnedFd,
}

/// Where commands and shells run.
#[derive(Debug)]
pub struct Place {
    inside: Mutex<Option<Arc<Inside>>>,
    cgroups: Option<Cgroups>,
}

impl Place {
    /// Programs see `inside` and are below `cgroups`.
    pub fn new(inside: Inside, cgroups: Option<Cgroups>) -> Self {
        Self { inside: Mutex::new(Some(Arc::new(inside))), cgroups }
    }

    /// The environment; none once it is shut down.
    pub fn inside(&self) -> Option<Arc<Inside>> {
        self.inside.lock().clone()
    }

    /// The commands' cgroups, where there are any.
    pub fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref()
    }

    /// Kills everything in a cgroup.
    pub async fn kill(&self, group: Group) {
        if let Some(cgroups) = self.cgroups.clone() {
            let _ = tokio::task::spawn_blocking(move || cgroups.kill(group)).await;
        }
    }

    /// Whether the program of this group has ended while something it started still ran.
    pub fn left_something(&self, group: Group) -> bool {
        self.cgroups.as_ref().is_some_and(|cgroups| cgroups.lingers(group))
    }

    /// The program of this group has ended.
    pub fn sweep(&self, ended: Group) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.sweep(ended);
        }
    }

    /// Kills everything and lets go of the environment. Blocks.
    pub fn shut_down(&self, within: Duration) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.kill_all(within);
        }
        self.inside.lock().take();
    }
}
