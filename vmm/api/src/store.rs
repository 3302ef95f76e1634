//! The store, looked at without any VM.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;
use crate::diff::{ArtifactType, DiffEntry, DiffSummary, Rename, SkippedEntry};
use crate::workspace::SeedOptions;

/// Stores a directory or archive as a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreIngest {
    /// Directory or archive. Absolute.
    pub source_path: BytesText,
    /// How it is read.
    #[serde(default)]
    pub seed: SeedOptions,
}

/// Answer to [`StoreIngest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreIngestReply {
    /// Id of the baseline.
    pub baseline: String,
    /// Its tree id.
    pub tree: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of content.
    pub bytes_total: u64,
    /// Bytes of payload that the store did not have yet, as stored.
    pub bytes_stored: u64,
    /// Chunks that the store did not have yet.
    pub chunks_stored: u64,
    /// What was left out.
    pub skipped: Vec<SkippedEntry>,
    /// What the caller may want to know.
    pub warnings: Vec<String>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// Writes a baseline (or a part of it) to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreCheckout {
    /// Baseline id, or an unambiguous prefix of at least 4 digits.
    pub baseline: String,
    /// Part of it; everything when absent.
    pub path: Option<BytesText>,
    /// Where to. Absolute.
    pub output_path: BytesText,
    /// Replace what is there.
    #[serde(default)]
    pub force: bool,
}

/// Answer to [`StoreCheckout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCheckoutReply {
    /// Where it is now.
    pub output_path: BytesText,
    /// Files, directories and links written.
    pub entry_count: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
}

/// All baselines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreList {}

/// Answer to [`StoreList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreListReply {
    /// Oldest first.
    pub baselines: Vec<BaselineSummary>,
}

/// One baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineSummary {
    /// Its id.
    pub baseline: String,
    /// Its tree id.
    pub tree: String,
    /// Where it came from.
    pub source: String,
    /// When (RFC 3339, UTC).
    pub created_at: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of content.
    pub bytes_total: u64,
}

/// What a directory of a baseline holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreLs {
    /// Baseline id or prefix.
    pub baseline: String,
    /// Directory, or a file or link; the top when absent.
    pub path: Option<BytesText>,
    /// Everything below, too.
    #[serde(default)]
    pub recursive: bool,
}

/// Answer to [`StoreLs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreLsReply {
    /// The baseline's full id.
    pub baseline: String,
    /// Sorted by name.
    pub entries: Vec<StoreEntry>,
}

/// One stored entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreEntry {
    /// Path below the top. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Exact bytes of the path (base64) where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// What it is.
    pub artifact_type: ArtifactType,
    /// Permission bits, octal; `777` for a link.
    pub mode: String,
    /// Length of a file in bytes.
    pub size: Option<u64>,
    /// BLAKE3 of a file's content, or a directory's tree id.
    pub hash: Option<String>,
    /// Where a link points.
    pub target: Option<String>,
    /// Modification time (RFC 3339, UTC).
    pub mtime: String,
}

/// One stored file's bytes, as `Output` events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreCat {
    /// Baseline id or prefix.
    pub baseline: String,
    /// The file.
    pub path: BytesText,
}

/// Answer to [`StoreCat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCatReply {
    /// Length of the file in bytes.
    pub size: u64,
    /// BLAKE3 of its content.
    pub hash: String,
}

/// What differs between two baselines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreDiff {
    /// Baseline id or prefix: before.
    pub old: String,
    /// Baseline id or prefix: after.
    pub new: String,
}

/// Answer to [`StoreDiff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreDiffReply {
    /// Full id: before.
    pub old: String,
    /// Full id: after.
    pub new: String,
    /// Whether anything differs.
    pub changed: bool,
    /// Counts.
    pub summary: DiffSummary,
    /// Every path that differs, sorted.
    pub entries: Vec<DiffEntry>,
    /// Directories that were moved.
    pub renames: Vec<Rename>,
}

/// Sizes of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreStats {}

/// Answer to [`StoreStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatsReply {
    /// Where it is.
    pub path: BytesText,
    /// Baselines.
    pub baseline_count: u64,
    /// Pack files.
    pub pack_count: u64,
    /// Bytes of pack files: what the payload takes on disk.
    pub pack_bytes: u64,
    /// Stored objects of all kinds.
    pub object_count: u64,
    /// Chunks of content.
    pub chunk_count: u64,
    /// Bytes of content in those chunks, each counted once, before compression.
    pub chunk_bytes: u64,
    /// Bytes of content that all baselines show together.
    pub baseline_bytes: u64,
}

/// Reads everything back and checks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreVerify {}

/// Answer to [`StoreVerify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreVerifyReply {
    /// Nothing is damaged or missing.
    pub clean: bool,
    /// Packs read.
    pub pack_count: u64,
    /// Objects checked.
    pub object_count: u64,
    /// Bytes checked, before compression.
    pub bytes_checked: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// One damaged or missing thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// What is wrong, for people.
    pub message: String,
    /// Kind and id of the object, when one is known.
    pub object: Option<String>,
    /// Pack file that it is in.
    pub pack: Option<String>,
    /// What it makes unreadable: `<baseline id>:<path>`, the first thousand.
    pub reaches: Vec<String>,
}

calls! {
    "store_ingest": StoreIngest => StoreIngestReply;
    "store_checkout": StoreCheckout => StoreCheckoutReply;
    "store_list": StoreList => StoreListReply;
    "store_ls": StoreLs => StoreLsReply;
    "store_cat": StoreCat => StoreCatReply;
    "store_diff": StoreDiff => StoreDiffReply;
    "store_stats": StoreStats => StoreStatsReply;
    "store_verify": StoreVerify => StoreVerifyReply;
}
