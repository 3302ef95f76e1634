//! What changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Compares `/workspace` as it is now with the baseline, or other trees that are named. With `patch`
/// the text patch comes along: its raw bytes as `Output` events when `stream` is set, else (capped)
/// in the reply. A tree's name: `baseline`, the name of a snapshot, or the id of a tree that a diff
/// has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiff {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Have the guest look at every file instead of its changed layer alone.
    #[serde(default)]
    pub full: bool,
    /// Make the patch.
    pub patch: bool,
    /// Send the patch as `Output` events.
    #[serde(default)]
    pub stream: bool,
    /// The older side; the baseline when absent.
    pub from: Option<String>,
    /// The newer side; `/workspace` as it is now when absent.
    pub to: Option<String>,
    /// Let commands go on while their files are looked at.
    #[serde(default)]
    pub no_freeze: bool,
    /// Leave content in the guest: the tree can be named only as long as its files stay there.
    #[serde(default)]
    pub no_pin: bool,
    /// Show only what is at these paths or below them; all when empty.
    #[serde(default)]
    pub paths: Vec<BytesText>,
    /// Patterns (as in a `.gitignore`) of what not to show.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Do not show what was added and the tree's `.gitignore` files name.
    #[serde(default)]
    pub gitignore: bool,
    /// Lines of context in the patch; 3 when absent.
    pub context: Option<u32>,
    /// Have the patch carry binary files, too, as only `git apply` takes them.
    #[serde(default)]
    pub binary: bool,
}

impl WorkspaceDiff {
    /// What differs from the baseline now, without a patch.
    pub fn of(workspace_id: String) -> Self {
        Self {
            workspace_id,
            full: false,
            patch: false,
            stream: false,
            from: None,
            to: None,
            no_freeze: false,
            no_pin: false,
            paths: Vec::new(),
            exclude: Vec::new(),
            gitignore: false,
            context: None,
            binary: false,
        }
    }
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was not in the baseline.
    Added,
    /// Its content, target or mode differs.
    Modified,
    /// It is gone.
    Deleted,
    /// It is another kind of thing now.
    TypeChanged,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffEntry {
    /// Path below `/workspace`; `.` is the directory itself. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Exact bytes of the path (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// What happened.
    pub status: Status,
    /// What it is now; for a deleted path, what it was.
    pub artifact_type: ArtifactType,
    /// What it was, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_artifact_type: Option<ArtifactType>,
    /// Its part of the patch, when it has one and the cap allows.
    pub text_patch: Option<String>,
    /// BLAKE3 of the file's content before.
    pub old_hash: Option<String>,
    /// BLAKE3 of the file's content now.
    pub new_hash: Option<String>,
    /// The file's length before.
    pub old_size: Option<u64>,
    /// The file's length now.
    pub new_size: Option<u64>,
    /// Permission bits before, octal.
    pub old_mode: Option<String>,
    /// Permission bits now, octal.
    pub new_mode: Option<String>,
    /// The link's target before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_target: Option<String>,
    /// The link's target now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_target: Option<String>,
    /// For an added path: the deleted path that it was moved from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Exact bytes of `renamed_from` (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from_b64: Option<String>,
    /// For an added file: the path that had its content before, among those that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<String>,
    /// Exact bytes of `copied_from` (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_from_b64: Option<String>,
    /// Lines that came, where the patch tells the content in lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines_added: Option<u64>,
    /// Lines that went, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines_removed: Option<u64>,
    /// First byte of the entry's part of the whole patch, however much of it the reply holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_offset: Option<u64>,
    /// Bytes of that part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_len: Option<u64>,
}

/// A directory that was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rename {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// Files in it that moved along unchanged.
    pub file_count: u64,
}

/// Something that a tree cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEntry {
    /// Path.
    pub path: String,
    /// Why: `fifo`, `socket`, `device`, `unreadable`, ...
    pub reason: String,
}

/// Counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffSummary {
    /// All entries.
    pub total: u64,
    /// New paths.
    pub added: u64,
    /// Paths whose content, target or mode differs.
    pub modified: u64,
    /// Paths that are gone.
    pub deleted: u64,
    /// Paths that are another kind of thing now.
    pub type_changed: u64,
    /// Entries that the patch carries.
    pub text_patched: u64,
    /// Entries that it does not.
    pub non_text: u64,
}

/// How many differences are not shown, by what hides them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hidden {
    /// They are at none of the paths asked for.
    pub by_path: u64,
    /// A pattern names them.
    pub by_exclude: u64,
    /// A `.gitignore` file names them.
    pub by_gitignore: u64,
}

/// What finding out cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportStats {
    /// Records in the guest's report.
    pub records: u64,
    /// Bytes of the guest's report on the wire.
    pub report_bytes: u64,
    /// Entries that the guest looked at.
    pub visited: u64,
    /// Bytes that the guest read to hash them.
    pub hashed_bytes: u64,
    /// Files whose hash the guest still knew.
    pub cached_files: u64,
    /// Bytes of content that crossed.
    pub fetched_bytes: u64,
    /// Nothing ran in the guest between the first look and the last: this is one moment.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
}

/// Answer to [`WorkspaceDiff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffReply {
    /// The workspace.
    pub workspace_id: String,
    /// Whether anything differs.
    pub changed: bool,
    /// Id of the tree that is shown here: what `--tree` of other commands takes exactly this one by.
    pub tree: String,
    /// The host holds all of that tree, whatever becomes of the guest.
    pub pinned: bool,
    /// Id of the tree that it is compared with.
    pub from_tree: String,
    /// Tree id of the baseline.
    pub baseline_tree: String,
    /// Counts.
    pub summary: DiffSummary,
    /// Every path that differs, sorted by the bytes of the path.
    pub entries: Vec<DiffEntry>,
    /// Directories that were moved, outermost only.
    pub renames: Vec<Rename>,
    /// What a tree cannot hold.
    pub skipped: Vec<SkippedEntry>,
    /// What differs and is not shown.
    pub hidden: Hidden,
    /// Unified patch of the text files, at most 1 MiB; empty when not asked for.
    pub patch: String,
    /// Exact bytes of the patch (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_b64: Option<String>,
    /// The patch is longer than fits here: `diff --patch` streams all of it.
    pub patch_truncated: bool,
    /// What it cost.
    pub report: ReportStats,
    /// What the guest runs on.
    pub execution_mode: String,
}

calls! {
    "workspace_diff": WorkspaceDiff => DiffReply;
}
