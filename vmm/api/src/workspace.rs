//! Workspaces: create, look, push, export, delete.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;
use crate::diff::{ArtifactType, SkippedEntry};

/// How a source directory is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedOptions {
    /// Patterns (as in a `.gitignore`) of what to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leave out what the source's `.gitignore` files name.
    #[serde(default)]
    pub gitignore: bool,
    /// Keep the last reading of a file that never stood still, instead of failing.
    #[serde(default)]
    pub allow_changing: bool,
    /// List files that cannot be read as skipped, instead of failing.
    #[serde(default)]
    pub skip_unreadable: bool,
}

/// Makes a workspace: a VM whose `/workspace` starts as the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceCreate {
    /// Environment name.
    pub environment: String,
    /// Directory or archive to start from; empty when absent. Absolute.
    pub seed_path: Option<BytesText>,
    /// How the seed is read.
    #[serde(default)]
    pub seed: SeedOptions,
    /// A name for people, unique among workspaces.
    pub name: Option<String>,
    /// Labels for people and scripts.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Virtual CPUs; 1 when absent.
    pub vcpu_count: Option<u32>,
    /// Memory in MiB; 1024 when absent.
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; 16384 when absent.
    pub disk_mib: Option<u32>,
    /// Who runs commands: `NAME`, `UID`, or either with `:GROUP`; the image's user, or root, when
    /// absent. `/workspace` is theirs.
    pub user: Option<String>,
    /// Delete the workspace after so many seconds.
    pub ttl_seconds: Option<u64>,
    /// Give the guest a network: connections out to public addresses; never to this host, link-local
    /// or private addresses.
    #[serde(default)]
    pub network: bool,
    /// Allow running without a VM where no VM can run.
    #[serde(default)]
    pub allow_host_compat: bool,
}

/// What a workspace is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceState {
    /// Its VM is being made.
    Creating,
    /// Its VM runs.
    Started,
    /// Its VM has ended; its files are kept.
    Stopped,
}

/// Where `/workspace` came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// Nothing: it started empty.
    Empty,
    /// A host directory.
    Directory,
    /// A tar archive.
    Archive,
}

/// How `/workspace` was seeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceSeed {
    /// From what.
    pub mode: SeedMode,
    /// The source on the host.
    pub seed_path: Option<BytesText>,
    /// Where it went: `/workspace`.
    pub destination: String,
    /// Files, directories and links in it.
    pub entry_count: u64,
    /// Bytes of content in it.
    pub bytes_written: u64,
    /// Bytes of payload that the store did not have yet (compressed, as stored).
    pub bytes_stored: u64,
    /// What was left out because no tree can hold it, or because the caller allowed it.
    pub skipped: Vec<SkippedEntry>,
    /// What the caller may want to know.
    pub warnings: Vec<String>,
}

/// The last command of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastCommand {
    /// As a shell line.
    pub command: String,
    /// Its exit code.
    pub exit_code: i32,
}

/// What the host has sent to the guest since its VM started (or the daemon did).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// Bytes of file content.
    pub content_bytes: u64,
    /// Bytes of directory nodes and times.
    pub tree_bytes: u64,
    /// Requests answered.
    pub requests: u64,
}

/// One workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceInfo {
    /// Its id.
    pub workspace_id: String,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Its environment.
    pub environment: String,
    /// What it is doing.
    pub state: WorkspaceState,
    /// `/workspace`.
    pub workspace_path: String,
    /// What its guest runs on: `qemu-kvm` or `qemu-tcg`.
    pub execution_mode: String,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Most that the guest can write to its disk, in MiB.
    pub disk_mib: u32,
    /// Whether its guest has a network.
    pub network_enabled: bool,
    /// Who runs its commands, as it was asked for or as the image says.
    pub user: String,
    /// Commands run and logged.
    pub command_count: u64,
    /// The last of them.
    pub last_command: Option<LastCommand>,
    /// How it was seeded.
    pub workspace_seed: WorkspaceSeed,
    /// Id of its baseline.
    pub baseline: String,
    /// Tree id of its baseline.
    pub baseline_tree: String,
    /// What crossed to the guest.
    pub served: Served,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// When it will be deleted (RFC 3339, UTC).
    pub expires_at: Option<String>,
    /// Why it stopped, when it did so by itself.
    pub stop_reason: Option<String>,
}

/// All workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceList {}

/// Answer to [`WorkspaceList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceListReply {
    /// Oldest first.
    pub workspaces: Vec<WorkspaceInfo>,
}

/// One workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStatus {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Ends a workspace's VM and keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStop {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Boots a stopped workspace again, its files as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStart {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Ends a workspace and removes everything it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDelete {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Answer to [`WorkspaceDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceDeleteReply {
    /// Which.
    pub workspace_id: String,
    /// Always true.
    pub deleted: bool,
}

/// Copies a host directory, archive or file into `/workspace`: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncPush {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Directory, archive or file. Absolute.
    pub source_path: BytesText,
    /// Where it goes: below `/workspace`, absolute or relative to it; `/workspace` when absent.
    pub dest: Option<BytesText>,
    /// How the source is read.
    #[serde(default)]
    pub seed: SeedOptions,
}

/// Answer to [`SyncPush`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncPushReply {
    /// The workspace.
    pub workspace_id: String,
    /// The source on the host.
    pub source_path: BytesText,
    /// Where it went.
    pub destination: String,
    /// Files, directories and links in the source.
    pub entry_count: u64,
    /// Entries that were not there already.
    pub changed_count: u64,
    /// Bytes of content in the source.
    pub bytes_written: u64,
    /// Bytes of content that crossed to the guest.
    pub bytes_sent: u64,
    /// What was left out.
    pub skipped: Vec<SkippedEntry>,
    /// What the caller may want to know.
    pub warnings: Vec<String>,
    /// What the guest runs on.
    pub execution_mode: String,
}

/// Copies a file, directory or link out of `/workspace` to the host. Several paths, or only what
/// changed, become a directory in which they are where they were in `/workspace`. An archive without
/// an `output_path` comes as `Output` events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Workspace id or name.
    pub workspace_id: String,
    /// What: below `/workspace`, absolute or relative to it.
    pub path: BytesText,
    /// More paths.
    #[serde(default)]
    pub more: Vec<BytesText>,
    /// Only what was added or differs from the baseline.
    #[serde(default)]
    pub changed: bool,
    /// Write a tar archive of what would be in the directory.
    #[serde(default)]
    pub archive: bool,
    /// Where to. Absolute.
    pub output_path: Option<BytesText>,
    /// Replace what is there.
    #[serde(default)]
    pub force: bool,
    /// From this tree instead of `/workspace` as it is now: the id of one that a diff has shown, the
    /// name of a snapshot, or `baseline`.
    pub tree: Option<String>,
    /// Let commands go on while their files are read.
    #[serde(default)]
    pub no_freeze: bool,
}

/// Answer to [`Export`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportReply {
    /// The workspace.
    pub workspace_id: String,
    /// What was exported, absolute.
    pub workspace_path: String,
    /// Exact bytes of `workspace_path` (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_path_b64: Option<String>,
    /// Where it is now; `-` is the caller's.
    pub output_path: BytesText,
    /// What it is.
    pub artifact_type: ArtifactType,
    /// Files, directories and links written.
    pub entry_count: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
    /// Bytes of content that crossed from the guest.
    pub bytes_fetched: u64,
    /// Tree id of the whole workspace that this was taken from.
    pub tree: String,
    /// Nothing ran in the guest while this was read.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
    /// With `changed`: paths of the baseline, at those asked for or below, that are gone. Bytes that are
    /// not UTF-8 are replaced.
    pub deleted: Vec<String>,
    /// What could not be carried.
    pub skipped: Vec<SkippedEntry>,
    /// Changed files that a host program may run without being asked.
    pub warnings: Vec<String>,
    /// What the guest runs on.
    pub execution_mode: String,
}

calls! {
    "workspace_create": WorkspaceCreate => WorkspaceInfo;
    "workspace_list": WorkspaceList => WorkspaceListReply;
    "workspace_status": WorkspaceStatus => WorkspaceInfo;
    "workspace_stop": WorkspaceStop => WorkspaceInfo;
    "workspace_start": WorkspaceStart => WorkspaceInfo;
    "workspace_delete": WorkspaceDelete => WorkspaceDeleteReply;
    "workspace_sync_push": SyncPush => SyncPushReply;
    "workspace_export": Export => ExportReply;
}
