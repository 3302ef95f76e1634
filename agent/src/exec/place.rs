//! Where programs run: the environment's mount namespace and terminals, and what keeps count of what
//! each of them starts.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cgroup::{Cgroups, Group};
use super::mark::Marks;
use crate::confine::Confinement;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::sys;

/// The environment as its programs see it, held by descriptors.
#[derive(Debug)]
pub struct Inside {
    /// Its mount namespace; none where programs run in the agent's own.
    pub namespace: Option<OwnedFd>,
    /// Its root directory, where its users are looked up.
    pub root: OwnedFd,
    /// Its `/dev/pts`, where terminals come from.
    pub terminals: OwnedFd,
    /// What its programs may not do; none where a machine of its own is around them.
    pub confinement: Option<Confinement>,
}

/// What knows all that a command has started.
#[derive(Debug, Clone)]
pub enum Groups {
    /// A cgroup for each; these freeze, too.
    Cgroups(Cgroups),
    /// A mark on each process.
    Marks(Marks),
}

/// What a program joins before it runs.
#[derive(Debug)]
pub enum Membership {
    /// `cgroup.procs` of its cgroup, open for writing.
    Cgroup(File),
    /// The namespace that is its mark.
    Mark(File),
}

/// Where commands and shells run.
#[derive(Debug)]
pub struct Place {
    inside: Mutex<Option<Arc<Inside>>>,
    groups: Groups,
}

impl Place {
    /// Programs see `inside` and are counted by `groups`.
    pub fn new(inside: Inside, groups: Groups) -> Self {
        Self { inside: Mutex::new(Some(Arc::new(inside))), groups }
    }

    /// The environment; none once it is shut down.
    pub fn inside(&self) -> Option<Arc<Inside>> {
        self.inside.lock().clone()
    }

    /// A user of the environment. Blocks.
    pub fn find_user(&self, user: &[u8]) -> Result<Identity> {
        Identity::find(self.inside().ok_or(Error::HungUp)?.root.as_fd(), user)
    }

    /// The commands' cgroups, where there are any.
    pub fn cgroups(&self) -> Option<&Cgroups> {
        match &self.groups {
            Groups::Cgroups(cgroups) => Some(cgroups),
            Groups::Marks(_) => None,
        }
    }

    /// Makes a group for a program to join.
    pub fn create(&self, group: Group) -> io::Result<Membership> {
        match &self.groups {
            Groups::Cgroups(cgroups) => cgroups.create(group).map(Membership::Cgroup),
            Groups::Marks(marks) => marks.create(group).map(Membership::Mark),
        }
    }

    /// Kills everything in a group.
    pub async fn kill(&self, group: Group) {
        let groups = self.groups.clone();
        let killed = tokio::task::spawn_blocking(move || match groups {
            Groups::Cgroups(cgroups) => cgroups.kill(group),
            Groups::Marks(marks) => marks.kill(group),
        });
        let _ = killed.await;
    }

    /// Whether the program of this group has ended while something it started still ran.
    pub fn left_something(&self, group: Group) -> bool {
        match &self.groups {
            Groups::Cgroups(cgroups) => cgroups.lingers(group),
            Groups::Marks(marks) => marks.lingers(group),
        }
    }

    /// The program of this group has ended.
    pub fn sweep(&self, ended: Group) {
        match &self.groups {
            Groups::Cgroups(cgroups) => cgroups.sweep(ended),
            Groups::Marks(marks) => marks.sweep(ended),
        }
    }

    /// Kills everything and lets go of the environment. Blocks.
    pub fn shut_down(&self, within: Duration) {
        match &self.groups {
            Groups::Cgroups(cgroups) => cgroups.kill_all(within),
            // Whoever is not the agent was started for a command.
            Groups::Marks(_) => sys::kill_everyone(),
        }
        self.inside.lock().take();
    }
}
