//! The daemon itself, and the machine it runs on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Who answers?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DaemonStatus {}

/// Answer to [`DaemonStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonStatusReply {
    /// Its version.
    pub version: String,
    /// Identity of its executable: a client of another build replaces it.
    pub build: String,
    /// Its process id.
    pub pid: u32,
    /// Its home.
    pub home: BytesText,
    /// Running workspaces.
    pub started_workspaces: u64,
    /// Calls under way, this one not counted; those whose callers hung up count until they are
    /// undone.
    pub calls: u64,
}

/// Ends the daemon. VMs go on; the next command starts a daemon that finds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Wait for calls under way; otherwise they are cut off.
    #[serde(default)]
    pub drain: bool,
}

/// Answer to [`Shutdown`]: the daemon ends after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownReply {
    /// Process id of the daemon that ends.
    pub pid: u32,
}

/// Can this machine do the job?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Doctor {}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Good.
    Ok,
    /// Works, but not as well as it could.
    Warning,
    /// Stands in the way.
    Failed,
}

/// One check of [`Doctor`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it went.
    pub status: CheckStatus,
    /// What was found.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

/// Answer to [`Doctor`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorReply {
    /// No check failed.
    pub ready: bool,
    /// pyro's version.
    pub version: String,
    /// Where everything is kept.
    pub home: BytesText,
    /// What guests will run on, if they can: `qemu-kvm` or `qemu-tcg`.
    pub execution_mode: Option<String>,
    /// The checks.
    pub checks: Vec<Check>,
}

calls! {
    "daemon_status": DaemonStatus => DaemonStatusReply;
    "daemon_shutdown": Shutdown => ShutdownReply;
    "doctor": Doctor => DoctorReply;
}
