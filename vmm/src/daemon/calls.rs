//! Which call does what.

use std::sync::Arc;

use pyro_api::{
    Call, CommandResult, DaemonStatus, Doctor, EnvironmentInspect, EnvironmentList,
    EnvironmentPrune, EnvironmentPull, ExecAttach, ExecKill, ExecRead, ExecStart, Export, Run,
    ShellClose, ShellFollow, ShellList, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite,
    Shutdown, StoreCat, StoreCheckout, StoreDiff, StoreIngest, StoreList, StoreLs, StoreStats,
    StoreVerify, SyncPush, WorkspaceCreate, WorkspaceDelete, WorkspaceDeleteReply, WorkspaceDiff,
    WorkspaceExec, WorkspaceList, WorkspaceListReply, WorkspaceLogs, WorkspaceLogsReply,
    WorkspaceStart, WorkspaceStatus, WorkspaceStop,
};
use serde_json::Value;

use super::server::Server;
use super::{doctor, environments, inspect};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::manager::Manager;
use crate::workspace::{Workspace, log};

/// Makes the call `name` with the arguments in `body`.
pub async fn dispatch(server: &Server, name: &str, body: &[u8], events: &Events) -> Result<Value> {
    let manager = &server.manager;
    macro_rules! calls {
        ($($call:ty: |$arguments:ident| $answer:expr;)*) => {
            match name {
                $(<$call as Call>::NAME => {
                    let $arguments: $call = arguments(body)?;
                    let reply: <$call as Call>::Reply = $answer;
                    answer(&reply)
                })*
                _ => Err(Error::UnknownCall(pyro_format::escape(name.as_bytes()))),
            }
        };
    }
    calls! {
        DaemonStatus: |_call| server.status();
        Shutdown: |call| server.shutdown(call.drain);
        Doctor: |_call| doctor::examine(manager).await?;

        EnvironmentList: |_call| environments::list(manager).await?;
        EnvironmentPull: |call| environments::pull(manager, call, events).await?;
        EnvironmentInspect: |call| environments::inspect(manager, call).await?;
        EnvironmentPrune: |call| environments::prune(manager, call).await?;

        Run: |call| run(manager, call, events).await?;
        WorkspaceCreate: |call| manager.create(&call, false, events).await?;
        WorkspaceList: |_call| list(manager);
        WorkspaceStatus: |call| manager.find(&call.workspace_id)?.info();
        WorkspaceStart: |call| manager.start(&manager.find(&call.workspace_id)?).await?;
        WorkspaceStop: |call| manager.stop(&manager.find(&call.workspace_id)?).await?;
        WorkspaceDelete: |call| delete(manager, &call.workspace_id).await?;
        WorkspaceExec: |call| manager.find(&call.workspace_id)?.exec(&call, events).await?;
        ExecAttach: |call| manager.find(&call.workspace_id)?.attach(&call, events).await?;
        ExecStart: |call| manager.find(&call.workspace_id)?.exec_start(call).await?;
        ExecRead: |call| manager.find(&call.workspace_id)?.exec_read(&call).await?;
        ExecKill: |call| manager.find(&call.workspace_id)?.exec_kill(&call).await?;
        WorkspaceLogs: |call| logs(&*manager.find(&call.workspace_id)?)?;
        WorkspaceDiff: |call| manager.find(&call.workspace_id)?.diff(&call, events).await?;
        Export: |call| manager.find(&call.workspace_id)?.export(&call, events).await?;
        SyncPush: |call| manager.find(&call.workspace_id)?.push(&call, events).await?;

        ShellOpen: |call| manager.find(&call.workspace_id)?.open_shell(&call).await?;
        ShellList: |call| manager.find(&call.workspace_id)?.list_shells(&call).await?;
        ShellRead: |call| manager.find(&call.workspace_id)?.read_shell(&call).await?;
        ShellWrite: |call| manager.find(&call.workspace_id)?.write_shell(&call).await?;
        ShellSignal: |call| manager.find(&call.workspace_id)?.signal_shell(&call).await?;
        ShellResize: |call| manager.find(&call.workspace_id)?.resize_shell(&call).await?;
        ShellFollow: |call| manager.find(&call.workspace_id)?.follow_shell(&call, events).await?;
        ShellClose: |call| manager.find(&call.workspace_id)?.close_shell(&call).await?;

        StoreIngest: |call| inspect::ingest(manager, call, events).await?;
        StoreCheckout: |call| inspect::checkout(manager, call, events).await?;
        StoreList: |_call| inspect::list(manager).await?;
        StoreLs: |call| inspect::ls(manager, call).await?;
        StoreCat: |call| inspect::cat(manager, call, events).await?;
        StoreDiff: |call| inspect::diff(manager, call).await?;
        StoreStats: |_call| inspect::stats(manager).await?;
        StoreVerify: |_call| inspect::verify(manager, events).await?;
    }
}

fn arguments<C: Call>(body: &[u8]) -> Result<C> {
    serde_json::from_slice(body).map_err(|error| {
        Error::Invalid(format!("the arguments of '{}' are wrong: {error}", C::NAME))
    })
}

fn answer<R: serde::Serialize>(reply: &R) -> Result<Value> {
    serde_json::to_value(reply)
        .map_err(|error| Error::Panicked(format!("an answer cannot be written: {error}")))
}

fn list(manager: &Manager) -> WorkspaceListReply {
    let listed = manager.workspaces().into_iter().filter(|workspace| !workspace.record().ephemeral);
    WorkspaceListReply { workspaces: listed.map(|workspace| workspace.info()).collect() }
}

async fn delete(manager: &Manager, id: &str) -> Result<WorkspaceDeleteReply> {
    let workspace = manager.find(id)?;
    manager.delete(&workspace).await?;
    Ok(WorkspaceDeleteReply { workspace_id: workspace.id(), deleted: true })
}

fn logs(workspace: &Workspace) -> Result<WorkspaceLogsReply> {
    Ok(WorkspaceLogsReply {
        workspace_id: workspace.id(),
        entries: log::read_all(&workspace.dir)?,
        running: workspace.running_execs(),
    })
}

/// One command in a VM of its own, which is gone when this returns or is dropped.
async fn run(manager: &Arc<Manager>, call: Run, events: &Events) -> Result<CommandResult> {
    let create = WorkspaceCreate {
        environment: call.environment,
        seed_path: None,
        seed: Default::default(),
        name: None,
        labels: Default::default(),
        vcpu_count: call.vcpu_count,
        mem_mib: call.mem_mib,
        ttl_seconds: call.ttl_seconds,
        network: call.network,
        allow_host_compat: call.allow_host_compat,
    };
    let created = manager.create(&create, true, events).await?;
    let workspace = manager.find(&created.workspace_id)?;
    let gone = Ephemeral { manager: manager.clone(), workspace: Some(workspace.clone()) };
    let exec = WorkspaceExec {
        workspace_id: created.workspace_id,
        command: call.command,
        timeout_seconds: call.timeout_seconds,
        cwd: None,
        env: Vec::new(),
    };
    let result = workspace.exec(&exec, events).await;
    gone.delete().await?;
    Ok(result?.result)
}

/// A workspace that ends with its call.
struct Ephemeral {
    manager: Arc<Manager>,
    workspace: Option<Arc<Workspace>>,
}

impl Ephemeral {
    async fn delete(mut self) -> Result<()> {
        if let Some(workspace) = &self.workspace {
            self.manager.delete(workspace).await?;
        }
        self.workspace = None;
        Ok(())
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.manager.discard(workspace);
        }
    }
}
