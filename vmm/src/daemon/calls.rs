//! Which call does what.

use std::sync::Arc;

use pyro_api::{
    Call, DaemonStatus, Doctor, EnvironmentCreate, EnvironmentImport, EnvironmentInspect,
    EnvironmentList, EnvironmentPrune, EnvironmentPull, EnvironmentRemove, ExecAttach, ExecKill,
    ExecRead, ExecStart, Export, GitFetch, KernelBuild, KernelRemove, KernelShow, Run, ShellClose,
    ShellFollow, ShellList, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite, Shutdown,
    SnapshotCreate, SnapshotDelete, SnapshotList, StoreCat, StoreCheckout, StoreDelete, StoreDiff,
    StoreExportBundle, StoreFindChunk, StoreGc, StoreImportBundle, StoreIngest, StoreList, StoreLs,
    StoreMount, StoreRebuildIndex, StoreStats, StoreUsage, StoreVerify, SyncPush, VmCreate,
    VmDelete, VmExec, VmInfo, VmList, VmNetworkInfo, VmReapExpired, VmStart, VmStatus, VmStop,
    WorkspaceApply, WorkspaceApplyUndo, WorkspaceCreate, WorkspaceDelete, WorkspaceDeleteReply,
    WorkspaceDiff, WorkspaceExec, WorkspaceFork, WorkspaceList, WorkspaceListReply, WorkspaceLogs,
    WorkspaceLogsReply, WorkspaceReset, WorkspaceStart, WorkspaceStatus, WorkspaceStop,
};
use serde::Deserialize;
use serde_json::Value;

use super::server::Server;
use super::{doctor, environments, images, inspect, kernel, moving, usage};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::manager::Manager;
use crate::workspace::record::Kind;
use crate::workspace::{Workspace, log};

/// Makes the call `name` with the arguments in `body`. One about a workspace or VM ends at the end
/// of that one's time.
pub async fn dispatch(server: &Server, name: &str, body: &[u8], events: &Events) -> Result<Value> {
    let subject = subject(&server.manager, name, body);
    let unisolated = match (&subject, name) {
        (Some(workspace), _) => workspace.is_unisolated(),
        (None, WorkspaceList::NAME | VmList::NAME) => {
            server.manager.workspaces().iter().any(|workspace| workspace.is_unisolated())
        }
        _ => false,
    };
    if unisolated {
        events.warn_of_host_compat().await;
    }
    let work = make(server, name, body, events);
    match subject {
        Some(workspace) => workspace.in_its_time(work).await,
        None => work.await,
    }
}

/// What a call says that it is about.
#[derive(Deserialize)]
struct Subject {
    workspace_id: Option<String>,
    vm_id: Option<String>,
}

/// What a call is about; none for the calls that delete it.
fn subject(manager: &Manager, name: &str, body: &[u8]) -> Option<Arc<Workspace>> {
    if [WorkspaceDelete::NAME, VmDelete::NAME].contains(&name) {
        return None;
    }
    let subject: Subject = serde_json::from_slice(body).ok()?;
    manager.lookup(&subject.workspace_id.or(subject.vm_id)?)
}

async fn make(server: &Server, name: &str, body: &[u8], events: &Events) -> Result<Value> {
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
        EnvironmentImport: |call| images::import(manager, call, events).await?;
        EnvironmentCreate: |call| images::create(manager, call, events).await?;
        EnvironmentRemove: |call| environments::remove(manager, call, events).await?;
        EnvironmentPrune: |call| environments::prune(manager, call).await?;

        KernelBuild: |call| kernel::build(manager, call, events).await?;
        KernelShow: |_call| kernel::show(manager).await?;
        KernelRemove: |_call| kernel::remove(manager, events).await?;

        Run: |call| manager.run(call, events).await?;
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
        SnapshotCreate: |call| manager.find(&call.workspace_id)?.snapshot(&call, events).await?;
        SnapshotList: |call| manager.find(&call.workspace_id)?.snapshots();
        SnapshotDelete: |call| {
            manager.find(&call.workspace_id)?.delete_snapshot(&call.name)?
        };
        WorkspaceReset: |call| {
            manager.reset(&manager.find(&call.workspace_id)?, &call, events).await?
        };
        WorkspaceFork: |call| {
            manager.fork(&manager.find(&call.workspace_id)?, &call, events).await?
        };
        GitFetch: |call| manager.find(&call.workspace_id)?.git_fetch(&call, events).await?;
        WorkspaceApply: |call| {
            manager.find(&call.workspace_id)?.apply(manager.journals(), &call, events).await?
        };
        WorkspaceApplyUndo: |call| manager.apply_undo(call).await?;
        SyncPush: |call| manager.find(&call.workspace_id)?.push(&call, events).await?;

        ShellOpen: |call| manager.find(&call.workspace_id)?.open_shell(&call).await?;
        ShellList: |call| manager.find(&call.workspace_id)?.list_shells(&call).await?;
        ShellRead: |call| manager.find(&call.workspace_id)?.read_shell(&call).await?;
        ShellWrite: |call| manager.find(&call.workspace_id)?.write_shell(&call).await?;
        ShellSignal: |call| manager.find(&call.workspace_id)?.signal_shell(&call).await?;
        ShellResize: |call| manager.find(&call.workspace_id)?.resize_shell(&call).await?;
        ShellFollow: |call| manager.find(&call.workspace_id)?.follow_shell(&call, events).await?;
        ShellClose: |call| manager.find(&call.workspace_id)?.close_shell(&call).await?;

        VmCreate: |call| manager.create_vm(call, events).await?;
        VmStart: |call| start_vm(manager, &call.vm_id).await?;
        VmStop: |call| stop_vm(manager, &call.vm_id).await?;
        VmStatus: |call| manager.find_vm(&call.vm_id)?.vm_info();
        VmList: |_call| manager.list_vms();
        VmExec: |call| manager.exec_vm(call, events).await?;
        VmDelete: |call| manager.delete_vm(&call).await?;
        VmNetworkInfo: |call| manager.find_vm(&call.vm_id)?.vm_network();
        VmReapExpired: |_call| manager.reap_expired().await;

        StoreIngest: |call| inspect::ingest(manager, call, events).await?;
        StoreCheckout: |call| inspect::checkout(manager, call, events).await?;
        StoreList: |_call| inspect::list(manager).await?;
        StoreLs: |call| inspect::ls(manager, call).await?;
        StoreCat: |call| inspect::cat(manager, call, events).await?;
        StoreDiff: |call| inspect::diff(manager, call).await?;
        StoreStats: |_call| inspect::stats(manager).await?;
        StoreVerify: |_call| inspect::verify(manager, events).await?;
        StoreUsage: |call| usage::usage(manager, call, events).await?;
        StoreFindChunk: |call| usage::find_chunk(manager, call, events).await?;
        StoreDelete: |call| usage::delete(manager, call).await?;
        StoreGc: |call| usage::gc(manager, call, events).await?;
        StoreRebuildIndex: |_call| usage::rebuild_index(manager).await?;
        StoreExportBundle: |call| moving::export_bundle(manager, call, events).await?;
        StoreImportBundle: |call| moving::import_bundle(manager, call, events).await?;
        StoreMount: |call| moving::mount(manager, call, events).await?;
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
    let listed = manager.workspaces().into_iter().filter(|workspace| {
        let record = workspace.record();
        record.kind == Kind::Workspace && !record.ephemeral
    });
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
        entries: log::read_all(&workspace.log_dir())?,
        running: workspace.running_execs(),
    })
}

async fn start_vm(manager: &Manager, id: &str) -> Result<VmInfo> {
    let vm = manager.find_vm(id)?;
    manager.start(&vm).await?;
    Ok(vm.vm_info())
}

async fn stop_vm(manager: &Manager, id: &str) -> Result<VmInfo> {
    let vm = manager.find_vm(id)?;
    manager.stop(&vm).await?;
    Ok(vm.vm_info())
}
