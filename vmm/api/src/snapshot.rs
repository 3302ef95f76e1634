//! Snapshots of `/workspace`, and what starts from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::calls;
use crate::diff::SkippedEntry;
use crate::workspace::WorkspaceInfo;

/// Gives a tree of `/workspace` a name. It costs what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Workspace id or name.
    pub workspace_id: String,
    /// The snapshot's name: as a workspace's name, and not `baseline`.
    pub name: String,
    /// This tree instead of `/workspace` as it is now: the id of one that a diff has shown, or the
    /// name of a snapshot.
    pub tree: Option<String>,
    /// Let commands go on while their files are read.
    #[serde(default)]
    pub no_freeze: bool,
}

/// A tree with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// Its tree id.
    pub tree: String,
    /// Paths that differ from the baseline.
    pub changed_count: u64,
    /// When it was taken (RFC 3339, UTC).
    pub created_at: String,
}

/// Answer to [`SnapshotCreate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotCreateReply {
    /// The workspace.
    pub workspace_id: String,
    /// What was made.
    pub snapshot: SnapshotInfo,
    /// Bytes of content that crossed from the guest.
    pub bytes_fetched: u64,
    /// Nothing ran in the guest while this was read.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
    /// What a tree cannot hold.
    pub skipped: Vec<SkippedEntry>,
}

/// The snapshots of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotList {
    /// Workspace id or name.
    pub workspace_id: String,
}

/// Answer to [`SnapshotList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotListReply {
    /// The workspace.
    pub workspace_id: String,
    /// Tree id of the baseline.
    pub baseline_tree: String,
    /// Oldest first.
    pub snapshots: Vec<SnapshotInfo>,
}

/// Forgets a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelete {
    /// Workspace id or name.
    pub workspace_id: String,
    /// The snapshot's name.
    pub name: String,
}

/// Answer to [`SnapshotDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDeleteReply {
    /// The workspace.
    pub workspace_id: String,
    /// Which.
    pub name: String,
    /// Always true.
    pub deleted: bool,
}

/// Makes a workspace's sandbox anew: a fresh system, `/workspace` as it was in a tree, no commands, no
/// shells, no log. Its id, name, snapshots and what diffs compare with stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceReset {
    /// Workspace id or name.
    pub workspace_id: String,
    /// What `/workspace` starts as: `baseline` (also when absent), a snapshot's name, or the id of a
    /// tree that a diff has shown.
    pub tree: Option<String>,
}

/// Makes another workspace that starts as a tree of this one. No file is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceFork {
    /// Workspace id or name.
    pub workspace_id: String,
    /// What it starts as: a snapshot's name, the id of a tree that a diff has shown, or `baseline`;
    /// `/workspace` as it is now when absent.
    pub tree: Option<String>,
    /// A name for people, unique among workspaces.
    pub name: Option<String>,
    /// Labels; those of the source when absent.
    pub labels: Option<BTreeMap<String, String>>,
    /// Virtual CPUs; as the source's when absent.
    pub vcpu_count: Option<u32>,
    /// Memory in MiB; as the source's when absent.
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; as the source's when absent.
    pub disk_mib: Option<u32>,
    /// Delete the fork after so many seconds.
    pub ttl_seconds: Option<u64>,
    /// Give the guest a network, or not; as the source when absent.
    pub network: Option<bool>,
    /// Let the source's commands go on while their files are read.
    #[serde(default)]
    pub no_freeze: bool,
}

calls! {
    "snapshot_create": SnapshotCreate => SnapshotCreateReply;
    "snapshot_list": SnapshotList => SnapshotListReply;
    "snapshot_delete": SnapshotDelete => SnapshotDeleteReply;
    "workspace_reset": WorkspaceReset => WorkspaceInfo;
    "workspace_fork": WorkspaceFork => WorkspaceInfo;
}
