//! VMs: one command each, made and started by hand where [`crate::Run`] does it all in one call.
//!
//! ```text
//! vm_create ─▶ vm_start ─▶ vm_exec (deletes it afterwards)
//!                       └▶ vm_stop ─▶ vm_start │ vm_delete
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;
use crate::exec::CommandResult;

/// Seconds after which a VM is deleted when its creator does not say: nobody leaves litter by
/// forgetting.
pub const VM_TTL_SECONDS: u64 = 600;

/// Makes a VM without starting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmCreate {
    /// Environment name.
    pub environment: String,
    /// Virtual CPUs; 1 when absent.
    pub vcpu_count: Option<u32>,
    /// Memory in MiB; 1024 when absent.
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; 16384 when absent.
    pub disk_mib: Option<u32>,
    /// Who runs commands: `NAME`, `UID`, or either with `:GROUP`; the image's user, or root, when
    /// absent.
    pub user: Option<String>,
    /// Delete the VM after so many seconds, whatever it does; 600 when absent.
    pub ttl_seconds: Option<u64>,
    /// Give the guest a network: connections out to public addresses; never to this host, link-local
    /// or private addresses.
    #[serde(default)]
    pub network: bool,
    /// Allow running without a VM where no VM can run.
    #[serde(default)]
    pub allow_host_compat: bool,
}

/// What a VM is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It was never started.
    Created,
    /// It runs.
    Started,
    /// It ran and has ended; its files are kept.
    Stopped,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmInfo {
    /// Its id.
    pub vm_id: String,
    /// Its environment.
    pub environment: String,
    /// What it is doing.
    pub state: VmState,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Most that the guest can write to its disk, in MiB.
    pub disk_mib: u32,
    /// What its guest runs on: `qemu-kvm` or `qemu-tcg`.
    pub execution_mode: String,
    /// Whether its guest has a network.
    pub network_enabled: bool,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// When it will be deleted (RFC 3339, UTC).
    pub expires_at: Option<String>,
    /// Why it stopped, when it did so by itself.
    pub stop_reason: Option<String>,
}

/// Boots a VM; returns when its guest takes commands. One that runs is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmStart {
    /// VM id.
    pub vm_id: String,
}

/// Ends a VM and keeps its files. One that is stopped is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmStop {
    /// VM id.
    pub vm_id: String,
}

/// Shows one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmStatus {
    /// VM id.
    pub vm_id: String,
}

/// All VMs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmList {}

/// Answer to [`VmList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmListReply {
    /// Oldest first.
    pub vms: Vec<VmInfo>,
}

/// Runs one command in a started VM, then deletes the VM, whatever came of it. `Output` events
/// stream what it prints. Hanging up kills the command and deletes the VM too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmExec {
    /// VM id.
    pub vm_id: String,
    /// Program and arguments.
    pub command: Vec<BytesText>,
    /// Kill the command after so many seconds.
    pub timeout_seconds: Option<f64>,
}

/// Answer to [`VmExec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VmExecReply {
    /// The VM, gone by now.
    pub vm_id: String,
    /// Always true: the VM was deleted.
    pub deleted: bool,
    /// How the command ended.
    #[serde(flatten)]
    pub result: CommandResult,
}

/// Ends a VM and removes everything it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmDelete {
    /// VM id.
    pub vm_id: String,
}

/// Answer to [`VmDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmDeleteReply {
    /// Which.
    pub vm_id: String,
    /// Always true.
    pub deleted: bool,
}

/// What network a VM's guest has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmNetworkInfo {
    /// VM id.
    pub vm_id: String,
}

/// Answer to [`VmNetworkInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmNetworkInfoReply {
    /// Which.
    pub vm_id: String,
    /// Whether its guest has a network; when not, the addresses below are absent.
    pub network_enabled: bool,
    /// `off`, or `egress`: connections out to public addresses; never to this host, link-local or
    /// private addresses.
    pub network_policy: String,
    /// The guest's IPv4 address.
    pub guest_ip: Option<String>,
    /// Its gateway's IPv4 address.
    pub gateway_ip: Option<String>,
    /// The name server it is given.
    pub dns_ip: Option<String>,
}

/// Deletes VMs and workspaces whose time is over now instead of within a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmReapExpired {}

/// Answer to [`VmReapExpired`]: what expired and was deleted since the last such call (or since the
/// daemon started), by it or by the daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmReapExpiredReply {
    /// How many VMs.
    pub count: u64,
    /// Which VMs; the last thousand.
    pub reaped_vm_ids: Vec<String>,
    /// Which workspaces; the last thousand.
    pub reaped_workspace_ids: Vec<String>,
}

calls! {
    "vm_create": VmCreate => VmInfo;
    "vm_start": VmStart => VmInfo;
    "vm_stop": VmStop => VmInfo;
    "vm_status": VmStatus => VmInfo;
    "vm_list": VmList => VmListReply;
    "vm_exec": VmExec => VmExecReply;
    "vm_delete": VmDelete => VmDeleteReply;
    "vm_network_info": VmNetworkInfo => VmNetworkInfoReply;
    "vm_reap_expired": VmReapExpired => VmReapExpiredReply;
}
