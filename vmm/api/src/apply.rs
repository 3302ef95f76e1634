//! Changes on their way home.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;
use crate::diff::Hidden;

/// Brings a workspace's changes into a directory of the host: three-way, path by path, against the
/// baseline. What changed on one side alone is taken; texts that changed on both sides in different
/// places are merged; all else is a conflict, and stays as the host has it. After a failure the
/// directory is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceApply {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Host directory, absolute: the one that the workspace was seeded from.
    pub host_path: BytesText,
    /// Let it be another directory.
    #[serde(default)]
    pub elsewhere: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Write the workspace's side of each conflict beside the host's, as `NAME.pyro-theirs`.
    #[serde(default)]
    pub beside: bool,
    /// The changes of this tree instead of `/workspace` as it is now: the id of one that a diff has
    /// shown, or the name of a snapshot.
    pub tree: Option<String>,
    /// Only the changes at these paths below `/workspace`; all when empty.
    #[serde(default)]
    pub paths: Vec<BytesText>,
    /// Patterns (as in a `.gitignore`) of what to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leave out what was added and the tree's `.gitignore` files name.
    #[serde(default)]
    pub gitignore: bool,
    /// Let commands go on while their files are read.
    #[serde(default)]
    pub no_freeze: bool,
}

/// What is done about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyAction {
    /// It is made.
    Create,
    /// It becomes what the workspace has.
    Replace,
    /// Both sides' changes are put together.
    Merge,
    /// Only its permissions change.
    Mode,
    /// It is removed.
    Delete,
    /// A directory that is gone in the workspace stays: it holds something of the host's own.
    Keep,
    /// Both sides changed it: it stays as the host has it.
    Conflict,
    /// Never touched: git may take it for a repository.
    Refused,
}

/// One path of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyEntry {
    /// Path below the directory; `.` is the directory itself. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Exact bytes of the path (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// What is done.
    pub action: ApplyAction,
    /// Why nothing is done, or not all of it.
    pub reason: Option<String>,
    /// Path below the directory at which the workspace's side of a conflict is written.
    pub written_to: Option<String>,
    /// Bytes that are written.
    pub size: u64,
}

/// How many paths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplySummary {
    /// All of `entries`.
    pub total: u64,
    /// Made.
    pub created: u64,
    /// Replaced.
    pub replaced: u64,
    /// Merged.
    pub merged: u64,
    /// Of other permissions.
    pub mode_changed: u64,
    /// Removed.
    pub deleted: u64,
    /// Directories that stay.
    pub kept: u64,
    /// Conflicts.
    pub conflicts: u64,
    /// Taken for repositories.
    pub refused: u64,
    /// As the workspace has them already; not among `entries`.
    pub unchanged: u64,
}

/// Answer to [`WorkspaceApply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyReply {
    /// The workspace.
    pub workspace_id: String,
    /// The host directory, links resolved.
    pub host_path: BytesText,
    /// Tree id of the changes.
    pub tree: String,
    /// It was done, and can be taken back; otherwise this is only the plan, or there was nothing to do.
    pub applied: bool,
    /// How many paths.
    pub summary: ApplySummary,
    /// What is done about each changed path, sorted.
    pub entries: Vec<ApplyEntry>,
    /// How many changes were left out, by what names them.
    pub hidden: Hidden,
    /// Bytes written to the directory.
    pub bytes_written: u64,
    /// Bytes of content that crossed from the guest.
    pub bytes_fetched: u64,
    /// Changed files that programs on the host may run, or obey, without being asked.
    pub warnings: Vec<String>,
    /// Nothing ran in the guest while this was read.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
    /// How the workspace runs.
    pub execution_mode: String,
}

/// Takes back what was applied last to a directory. What somebody changed since stays. The workspace
/// need not exist any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceApplyUndo {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Host directory, absolute.
    pub host_path: BytesText,
}

/// A path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftEntry {
    /// Path below the directory. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Exact bytes of the path (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// Why.
    pub reason: String,
    /// Host file that keeps what was there.
    pub kept_at: Option<BytesText>,
}

/// Answer to [`WorkspaceApplyUndo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyUndoReply {
    /// The workspace.
    pub workspace_id: String,
    /// The host directory, links resolved.
    pub host_path: BytesText,
    /// Tree id of the changes that were taken back.
    pub tree: String,
    /// When they were applied (RFC 3339).
    pub applied_at: String,
    /// Paths that are as they were again.
    pub restored_count: u64,
    /// Paths that are not.
    pub left: Vec<LeftEntry>,
}

calls! {
    "workspace_apply": WorkspaceApply => ApplyReply;
    "workspace_apply_undo": WorkspaceApplyUndo => ApplyUndoReply;
}
