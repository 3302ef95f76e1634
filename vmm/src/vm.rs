//! VMs: workspaces of another kind. They start empty, are listed apart, and are gone after one
//! command.

use std::sync::Arc;

use pyro_api::{
    BytesText, CommandResult, Run, VM_TTL_SECONDS, VmCreate, VmDelete, VmDeleteReply, VmExec,
    VmExecReply, VmInfo, VmListReply, VmNetworkInfoReply, VmState, WorkspaceCreate, WorkspaceExec,
};
use pyro_image::Startup;
use pyro_machine::{GATEWAY_IP, GUEST_IP, MachineState, NAMESERVER_IP};

use crate::error::{Error, Result};
use crate::events::Events;
use crate::manager::Manager;
use crate::workspace::record::{Kind, Phase};
use crate::workspace::{Workspace, exec, stop_reason};

impl Manager {
    /// Makes a VM and does not start it.
    pub async fn create_vm(self: &Arc<Self>, call: VmCreate, events: &Events) -> Result<VmInfo> {
        let create = WorkspaceCreate {
            vcpu_count: call.vcpu_count,
            mem_mib: call.mem_mib,
            disk_mib: call.disk_mib,
            user: call.user,
            ttl_seconds: Some(call.ttl_seconds.unwrap_or(VM_TTL_SECONDS)),
            network: call.network,
            allow_host_compat: call.allow_host_compat,
            ..empty(call.environment)
        };
        Ok(self.create_unbooted(&create, Kind::Vm, events).await?.vm_info())
    }

    /// The VM with this id.
    pub fn find_vm(&self, id: &str) -> Result<Arc<Workspace>> {
        let shown = || pyro_format::escape(id.as_bytes());
        match self.lookup(id) {
            Some(vm) if vm.record().kind == Kind::Vm => Ok(vm),
            Some(_) => Err(Error::NotAVm(shown())),
            None => Err(Error::UnknownVm(shown())),
        }
    }

    /// All VMs, oldest first.
    pub fn list_vms(&self) -> VmListReply {
        let vms = self.workspaces().into_iter().filter(|vm| {
            let record = vm.record();
            record.kind == Kind::Vm && record.phase == Phase::Ready
        });
        VmListReply { vms: vms.map(|vm| vm.vm_info()).collect() }
    }

    /// Runs one command in a started VM and deletes the VM, whatever came of it; also when the
    /// future is dropped. What is refused before it has begun leaves the VM as it is.
    pub async fn exec_vm(self: &Arc<Self>, call: VmExec, events: &Events) -> Result<VmExecReply> {
        let vm = self.find_vm(&call.vm_id)?;
        let command = only(vm.id(), call.command, None, call.timeout_seconds);
        exec::check(&command)?;
        vm.claim().await?;
        let result = self.exec_and_delete(vm.clone(), &command, events).await?;
        Ok(VmExecReply { vm_id: vm.id(), deleted: true, result })
    }

    /// Ends a VM and removes everything it had.
    pub async fn delete_vm(&self, call: &VmDelete) -> Result<VmDeleteReply> {
        let vm = self.find_vm(&call.vm_id)?;
        self.delete(&vm).await?;
        Ok(VmDeleteReply { vm_id: vm.id(), deleted: true })
    }

    /// One command in a VM of its own, which is gone when this returns or is dropped.
    pub async fn run(self: &Arc<Self>, call: Run, events: &Events) -> Result<CommandResult> {
        let create = WorkspaceCreate {
            vcpu_count: call.vcpu_count,
            mem_mib: call.mem_mib,
            disk_mib: call.disk_mib,
            user: call.user,
            ttl_seconds: call.ttl_seconds,
            network: call.network,
            allow_host_compat: call.allow_host_compat,
            ..empty(call.environment)
        };
        let (words, cwd) = match call.command.is_empty() {
            true => self.own_program(&create.environment).await?,
            false => (call.command, None),
        };
        let created = self.create(&create, true, events).await?;
        let vm = self.find(&created.workspace_id)?;
        let command = only(created.workspace_id, words, cwd, call.timeout_seconds);
        self.exec_and_delete(vm, &command, events).await
    }

    /// The program that an environment's image starts, and where.
    async fn own_program(&self, environment: &str) -> Result<(Vec<BytesText>, Option<BytesText>)> {
        let Startup { entrypoint, cmd, working_dir, .. } =
            self.boot_plan(environment, None).await?.environment.startup();
        if entrypoint.is_empty() && cmd.is_empty() {
            let name = pyro_format::escape(environment.as_bytes());
            return Err(Error::Invalid(format!(
                "{name} has no program of its own: name a command, as in 'pyro run {name} -- CMD'"
            )));
        }
        let words = entrypoint.into_iter().chain(cmd);
        let words = words.map(|word| BytesText(word.into_bytes())).collect();
        // A container's own program starts at the root unless the image says otherwise.
        let cwd =
            if working_dir.starts_with('/') { working_dir } else { format!("/{working_dir}") };
        Ok((words, Some(BytesText(cwd.into_bytes()))))
    }

    async fn exec_and_delete(
        self: &Arc<Self>,
        vm: Arc<Workspace>,
        command: &WorkspaceExec,
        events: &Events,
    ) -> Result<CommandResult> {
        let gone = Ephemeral { manager: self.clone(), workspace: Some(vm.clone()) };
        let result = vm.in_its_time(vm.exec(command, events)).await;
        gone.delete().await?;
        Ok(result?.result)
    }
}

/// A workspace with nothing in it.
fn empty(environment: String) -> WorkspaceCreate {
    WorkspaceCreate {
        environment,
        seed_path: None,
        seed: Default::default(),
        name: None,
        labels: Default::default(),
        vcpu_count: None,
        mem_mib: None,
        disk_mib: None,
        user: None,
        ttl_seconds: None,
        network: false,
        allow_host_compat: false,
    }
}

/// The one command of a VM.
fn only(
    workspace_id: String,
    command: Vec<BytesText>,
    cwd: Option<BytesText>,
    timeout_seconds: Option<f64>,
) -> WorkspaceExec {
    WorkspaceExec { workspace_id, command, timeout_seconds, cwd, user: None, env: Vec::new() }
}

impl Workspace {
    /// As `vm status` shows it.
    pub fn vm_info(&self) -> VmInfo {
        let record = self.record();
        let (state, stop_reason) = match self.machine.state() {
            Ok(MachineState::Running { .. }) => (VmState::Started, None),
            Ok(MachineState::Stopped { exit: None }) if !record.booted => (VmState::Created, None),
            Ok(MachineState::Stopped { exit }) => {
                (VmState::Stopped, exit.map(|exit| stop_reason(&exit)))
            }
            Err(error) => (VmState::Stopped, Some(error.to_string())),
        };
        VmInfo {
            vm_id: record.id,
            environment: record.environment,
            state,
            vcpu_count: record.vcpu_count,
            mem_mib: record.mem_mib,
            disk_mib: record.disk_mib,
            execution_mode: record.backend.name().to_owned(),
            network_enabled: record.network,
            created_at: record.created_at.to_string(),
            expires_at: record.expires_at.map(|at| at.to_string()),
            stop_reason,
        }
    }

    /// Its guest's network.
    pub fn vm_network(&self) -> VmNetworkInfoReply {
        let record = self.record();
        let address = |address: std::net::Ipv4Addr| record.network.then(|| address.to_string());
        VmNetworkInfoReply {
            vm_id: record.id.clone(),
            network_enabled: record.network,
            network_policy: if record.network { "egress" } else { "off" }.to_owned(),
            guest_ip: address(GUEST_IP),
            gateway_ip: address(GATEWAY_IP),
            dns_ip: address(NAMESERVER_IP),
        }
    }

    /// Takes a started VM for its one command: from now on it is deleted whatever happens, also by
    /// the next daemon.
    async fn claim(&self) -> Result<()> {
        let running = self.in_use().await;
        let _running = running.map_err(|error| match error {
            Error::Stopped(id) => Error::VmNotStarted(id),
            error => error,
        })?;
        let taken = self.update(|record| std::mem::replace(&mut record.ephemeral, true))?;
        if taken { Err(Error::VmTaken(self.id())) } else { Ok(()) }
    }
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
