//! Stopping, starting and deleting a workspace.

use std::sync::Arc;

use pyro_api::WorkspaceInfo;

use super::Workspace;
use super::record::Phase;
use crate::error::{Error, Result};
use crate::manager::Manager;

impl Manager {
    /// Ends a workspace's machine and keeps its files. One that is stopped is no error.
    pub async fn stop(&self, workspace: &Arc<Workspace>) -> Result<WorkspaceInfo> {
        let _alone = workspace.lifecycle.write().await;
        workspace.refuse_transition()?;
        workspace.power_off().await?;
        workspace.settle_execs().await;
        Ok(workspace.info())
    }

    /// Boots a stopped workspace. One that runs is no error.
    pub async fn start(&self, workspace: &Arc<Workspace>) -> Result<WorkspaceInfo> {
        let _alone = workspace.lifecycle.write().await;
        workspace.refuse_transition()?;
        if !workspace.is_running() {
            let record = workspace.record();
            let plan = self.boot_plan(&record.environment, Some(&record.image)).await?;
            workspace.boot(&plan).await?;
            workspace.update(|record| record.booted = true)?;
        }
        Ok(workspace.info())
    }

    /// Ends a workspace and removes everything it had. Goes on where a crash cut it off.
    pub async fn delete(&self, workspace: &Arc<Workspace>) -> Result<()> {
        if !workspace.dir.exists() {
            self.forget(&workspace.id());
            return Ok(());
        }
        // Before waiting for the lock: what uses the workspace now must not be followed by more.
        workspace.update(|record| record.phase = Phase::Deleting)?;
        workspace.pull_plug().await?;
        let _alone = workspace.lifecycle.write().await;
        workspace.pull_plug().await?;
        workspace.settle_execs().await;
        let dir = workspace.dir.clone();
        let removed = tokio::task::spawn_blocking(move || pyro_store::remove_tree(&dir));
        removed.await.map_err(|panic| Error::Panicked(panic.to_string()))??;
        self.count_expired(workspace);
        self.forget(&workspace.id());
        self.untidy();
        self.drop_implicit_baselines().await
    }
}

impl Workspace {
    /// Fails for one that is being made or deleted.
    pub(super) fn refuse_transition(&self) -> Result<()> {
        let record = self.record();
        match record.phase {
            Phase::Ready => Ok(()),
            Phase::Creating => Err(Error::InTransition(record.title(), "created")),
            Phase::Deleting => Err(Error::InTransition(record.title(), "deleted")),
        }
    }
}
