//! Workspaces and VMs whose time is over.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pyro_api::VmReapExpiredReply;

use super::Manager;
use crate::error::Result;
use crate::workspace::Workspace;
use crate::workspace::record::Kind;

/// How often they are looked for.
const REAP: Duration = Duration::from_secs(1);
/// How many of each kind are remembered by their ids.
const REMEMBERED: usize = 1000;

/// What expired and was deleted since somebody asked.
#[derive(Default)]
pub struct Reaped {
    vm_count: u64,
    vms: VecDeque<String>,
    workspaces: VecDeque<String>,
}

impl Reaped {
    fn note(&mut self, kind: Kind, id: String) {
        let ids = match kind {
            Kind::Vm => {
                self.vm_count += 1;
                &mut self.vms
            }
            Kind::Workspace => &mut self.workspaces,
        };
        if ids.len() == REMEMBERED {
            ids.pop_front();
        }
        ids.push_back(id);
    }
}

impl Manager {
    /// Deletes what expires, for ever. None waits for another: one that takes long to delete holds
    /// up nobody.
    pub async fn reap(self: Arc<Self>) {
        loop {
            for workspace in self.expired() {
                if workspace.begin_expiry() {
                    let manager = self.clone();
                    self.detached.spawn(async move { manager.retire_or_retry(&workspace).await });
                }
            }
            tokio::time::sleep(REAP).await;
        }
    }

    /// Deletes at once what has expired, and tells what did since the last time.
    pub async fn reap_expired(&self) -> VmReapExpiredReply {
        let expired = self.expired();
        futures::future::join_all(expired.iter().map(|it| self.retire_or_retry(it))).await;
        let reaped = std::mem::take(&mut *self.reaped());
        VmReapExpiredReply {
            count: reaped.vm_count,
            reaped_vm_ids: reaped.vms.into(),
            reaped_workspace_ids: reaped.workspaces.into(),
        }
    }

    /// Counts a workspace that was deleted after its time, once. VMs of `run` have no id that
    /// anybody knows.
    pub(crate) fn count_expired(&self, workspace: &Workspace) {
        let record = workspace.record();
        let unknown = record.kind == Kind::Workspace && record.ephemeral;
        if workspace.is_expired() && !unknown && workspace.count_expiry() {
            self.reaped().note(record.kind, record.id);
        }
    }

    fn expired(&self) -> Vec<Arc<Workspace>> {
        let map = self.workspaces.read().unwrap_or_else(PoisonError::into_inner);
        map.values().filter(|workspace| workspace.is_expired()).cloned().collect()
    }

    async fn retire_or_retry(&self, workspace: &Arc<Workspace>) {
        if let Err(error) = self.retire(workspace).await {
            eprintln!("{}: {}", workspace.record().title(), error.to_body().message);
            workspace.retry_expiry();
        }
    }

    async fn retire(&self, workspace: &Arc<Workspace>) -> Result<()> {
        workspace.expire();
        self.delete(workspace).await
    }

    fn reaped(&self) -> std::sync::MutexGuard<'_, Reaped> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_are_remembered_and_all_vms_counted() {
        let mut reaped = Reaped::default();
        for n in 0..REMEMBERED + 7 {
            reaped.note(Kind::Vm, n.to_string());
            reaped.note(Kind::Workspace, n.to_string());
        }
        assert_eq!(reaped.vm_count, REMEMBERED as u64 + 7);
        assert_eq!((reaped.vms.len(), reaped.workspaces.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(reaped.vms[0], "7");
    }
}
