//! A sandbox made anew, and another one that starts from the same tree.
//!
//! A reset makes a new scratch disk first; then one write of the record switches to it, with the new
//! lower tree and an empty history. A crash before that write leaves the workspace as it was, stopped;
//! after it, as it is after the reset, stopped. What the switch left behind goes at the next boot.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use pyro_api::{WorkspaceCreate, WorkspaceFork, WorkspaceInfo, WorkspaceReset};
use pyro_machine::BackendKind;

use super::Workspace;
use super::capture::{BASELINE, Content};
use super::create::Seeded;
use super::record::{Kind, StoredTree};
use super::user::ROOT;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::manager::Manager;

/// Name of the scratch disk's file, before its number and `.img`; without a VM of a directory, before
/// its number.
const SCRATCH: &str = "scratch";
/// Name of the log's directory, before its number.
const LOG: &str = "log";

impl Manager {
    /// Makes a workspace's sandbox anew. Goes on when the future is dropped, once the old machine
    /// is being ended.
    pub async fn reset(
        self: &Arc<Self>,
        workspace: &Arc<Workspace>,
        call: &WorkspaceReset,
        events: &Events,
    ) -> Result<WorkspaceInfo> {
        let hold = self.store().hold();
        // Everything that can be refused is refused before anything is given up.
        let name = call.tree.as_deref().unwrap_or(BASELINE);
        let tree = workspace.named(name, &Content::All).await?.tree;
        let record = workspace.record();
        let plan = self.boot_plan(&record.environment, Some(&record.image)).await?;
        let (manager, workspace) = (self.clone(), workspace.clone());
        events.progress("reset", "", 0, None);
        let resetting = tokio::spawn(async move {
            let _hold = hold;
            let _alone = workspace.lifecycle.write().await;
            workspace.refuse_transition()?;
            // A daemon that died here has left a disk.
            workspace.sweep_resets();
            let resets = workspace.record().resets + 1;
            let scratch = workspace.dir.join(scratch_name(resets, record.backend));
            manager.make_scratch(scratch, &record).await?;
            workspace.pull_plug().await?;
            workspace.settle_execs().await;
            workspace.start_over(resets, tree)?;
            workspace.boot(&plan).await?;
            workspace.update(|record| record.booted = true)?;
            Ok(workspace.info())
        });
        resetting.await.map_err(|panic| Error::Panicked(panic.to_string()))?
    }

    /// Makes another workspace from a tree of this one.
    pub async fn fork(
        self: &Arc<Self>,
        source: &Arc<Workspace>,
        call: &WorkspaceFork,
        events: &Events,
    ) -> Result<WorkspaceInfo> {
        // Held until the fork is on record: its baseline may be on no other record then.
        let seeding = self.seeding().await;
        let hold = self.store().hold();
        let (name, freeze) = (call.tree.as_deref(), !call.no_freeze);
        let tree = source.obtain(name, Content::All, freeze, events).await?.tree;
        let record = source.record();
        let create = WorkspaceCreate {
            environment: record.environment,
            seed_path: None,
            seed: Default::default(),
            name: call.name.clone(),
            labels: call.labels.clone().unwrap_or(record.labels),
            vcpu_count: Some(call.vcpu_count.unwrap_or(record.vcpu_count)),
            mem_mib: Some(call.mem_mib.unwrap_or(record.mem_mib)),
            disk_mib: Some(call.disk_mib.unwrap_or(record.disk_mib)),
            // Not the image's, where another was asked for.
            user: Some(record.user.unwrap_or_else(|| ROOT.into())),
            ttl_seconds: call.ttl_seconds,
            network: call.network.unwrap_or(record.network),
            // Who made the source was told.
            allow_host_compat: record.backend == BackendKind::HostCompat,
        };
        let seeded = Seeded {
            tree: record.baseline_tree.into(),
            lower: tree.into(),
            baseline: record.baseline,
            _pin: None,
            seed: record.seed,
        };
        let plan = self.prepare(&create, Some(&record.image), events).await?;
        let unborn = self.conceive(&create, Kind::Workspace, false, &plan, seeded).await?;
        drop((seeding, hold));
        self.bear(unborn, &plan, events).await
    }
}

impl Workspace {
    /// The scratch disk's file, or the directory in its place.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join(scratch_name(self.record().resets, self.record().backend))
    }

    /// The command log's directory.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join(log_name(self.record().resets))
    }

    fn start_over(&self, resets: u64, lower: StoredTree) -> Result<()> {
        self.update(|record| {
            record.resets = resets;
            record.lower = lower;
            record.booted = false;
            record.next_shell = 1;
            record.next_sequence = 1;
            record.next_push = 1;
            record.pending.clear();
            record.command_count = 0;
            record.last_command = None;
        })?;
        self.content.set_lower(lower.into());
        Ok(())
    }

    /// Removes what earlier resets left: it is of no use, and may be large.
    pub(super) fn sweep_resets(&self) {
        let resets = self.record().resets;
        let current = [scratch_name(resets, self.record().backend), log_name(resets)];
        let Ok(names) = fs::read_dir(&self.dir) else { return };
        for name in names.flatten().map(|entry| entry.file_name()) {
            let Some(text) = name.to_str() else { continue };
            let ours = text.starts_with(SCRATCH) || text == LOG || text.starts_with("log-");
            if ours && !current.iter().any(|current| current == text) {
                // What cannot be removed now goes with the workspace.
                let _ = pyro_store::remove_tree(&self.dir.join(&name));
            }
        }
    }
}

fn scratch_name(resets: u64, backend: BackendKind) -> String {
    let kind = if backend == BackendKind::HostCompat { "" } else { ".img" };
    format!("{SCRATCH}{}{kind}", number(resets))
}

fn log_name(resets: u64) -> String {
    format!("{LOG}{}", number(resets))
}

fn number(resets: u64) -> String {
    if resets == 0 { String::new() } else { format!("-{resets}") }
}
