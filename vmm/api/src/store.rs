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
    /// Do not wait until it is on the disk: it may be lost, or be there in part, after a power cut.
    #[serde(default)]
    pub no_sync: bool,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Bytes that baselines show for each byte of content that is stored: what storing equal content
    /// once saves. 1 for an empty store.
    pub dedup_ratio: f64,
    /// Bytes of objects for each byte of packs: what compression saves. 1 for an empty store.
    pub compression_ratio: f64,
    /// The same by baseline, oldest first.
    pub baselines: Vec<BaselineUsage>,
}

/// What baselines take: alone, together with others, and what each added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreUsage {
    /// Baseline ids or prefixes; all when empty.
    #[serde(default)]
    pub baselines: Vec<String>,
}

/// Answer to [`StoreUsage`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreUsageReply {
    /// Oldest first.
    pub baselines: Vec<BaselineUsage>,
}

/// What one baseline takes. Stored bytes are those of packs: an object has its part of the frame that
/// it is compressed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineUsage {
    /// Its id.
    pub baseline: String,
    /// Where it came from.
    pub source: String,
    /// When (RFC 3339, UTC).
    pub created_at: String,
    /// A workspace made it, and it goes with the last workspace that uses it.
    pub implicit: bool,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of content that it shows.
    pub bytes_total: u64,
    /// Bytes of what it reaches, each object once, before compression.
    pub object_bytes: u64,
    /// The same as stored.
    pub stored_bytes: u64,
    /// Of those, bytes that no other baseline reaches, as stored.
    pub unique_bytes: u64,
    /// Of those, bytes that other baselines reach too, as stored.
    pub shared_bytes: u64,
    /// Bytes that no older baseline reaches, as stored.
    pub added_bytes: u64,
    /// Bytes shown for each byte of objects.
    pub dedup_ratio: f64,
    /// Bytes of objects for each byte stored.
    pub compression_ratio: f64,
}

/// What an id names, where it is stored and which paths need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreFindChunk {
    /// Id of a chunk, file, tree, times or root node, or at least its first 4 digits.
    pub id: String,
}

/// Answer to [`StoreFindChunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFindChunkReply {
    /// Every place of every object that the id names.
    pub objects: Vec<StoredObject>,
    /// Paths that need them: `<baseline id>:<path>`.
    pub needed_by: Vec<String>,
    /// There are more objects or paths than are listed.
    pub truncated: bool,
}

/// One place of a stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredObject {
    /// `chunk`, `chunk list of file`, `tree`, `times` or `root`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Bytes before compression.
    pub bytes: u64,
    /// Its part of the pack in bytes.
    pub stored_bytes: u64,
    /// Name of the pack's file.
    pub pack: String,
    /// Number of the frame in the pack.
    pub frame: u32,
    /// It was found damaged.
    pub damaged: bool,
}

/// Forgets baselines. What only they needed can be collected then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreDelete {
    /// Baseline ids or prefixes.
    pub baselines: Vec<String>,
}

/// Answer to [`StoreDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreDeleteReply {
    /// Full ids of those that are forgotten.
    pub deleted: Vec<String>,
}

/// Collects what nothing needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreGc {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Leave packs alone that are younger than so many seconds.
    #[serde(default)]
    pub grace_seconds: u64,
}

/// Answer to [`StoreGc`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreGcReply {
    /// Only planned.
    pub dry_run: bool,
    /// Pack files before.
    pub pack_count: u64,
    /// Bytes of pack files before.
    pub pack_bytes: u64,
    /// Objects in them.
    pub object_count: u64,
    /// Of those, objects that nothing needs.
    pub unused_object_count: u64,
    /// Bytes that those take.
    pub unused_bytes: u64,
    /// Of those, bytes in packs that are removed or written again: what this collection frees.
    pub reclaimable_bytes: u64,
    /// Bytes that were freed, also by writing what stays smaller than it was. 0 if only planned.
    pub reclaimed_bytes: i64,
    /// Packs removed, or to be.
    pub packs_removed: u64,
    /// Packs written again, or to be.
    pub packs_rewritten: u64,
    /// Packs left alone because they are young or somebody relies on them.
    pub packs_in_use: u64,
}

/// Fills the index again from the packs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreRebuildIndex {}

/// Answer to [`StoreRebuildIndex`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreRebuildIndexReply {
    /// Packs that can be used.
    pub pack_count: u64,
    /// Objects in them.
    pub object_count: u64,
    /// Packs that cannot, and why.
    pub damage: Vec<Damage>,
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
    /// Damaged copies of objects that are sound elsewhere: nothing is lost, a collection removes them.
    pub healed_count: u64,
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

/// Writes baselines to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreExportBundle {
    /// Baseline ids or prefixes.
    pub baselines: Vec<String>,
    /// The file. Absolute.
    pub output_path: BytesText,
    /// Replace what is there.
    #[serde(default)]
    pub force: bool,
}

/// Answer to [`StoreExportBundle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreExportBundleReply {
    /// The file.
    pub output_path: BytesText,
    /// Full ids of the baselines in it.
    pub baselines: Vec<String>,
    /// Objects in it.
    pub object_count: u64,
    /// Its length in bytes.
    pub bytes_written: u64,
}

/// Takes the baselines of a bundle in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreImportBundle {
    /// The file. Absolute.
    pub path: BytesText,
}

/// Answer to [`StoreImportBundle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreImportBundleReply {
    /// Full ids of the baselines in it.
    pub baselines: Vec<String>,
    /// Those that the store had already.
    pub known: Vec<String>,
    /// Objects in it.
    pub object_count: u64,
    /// Bytes that the store's packs grew by.
    pub bytes_stored: u64,
}

/// Mounts a baseline on the host, for as long as the call lasts. An `Output` event on standard output
/// holds the reply as soon as it is mounted; the call is answered when it is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreMount {
    /// Baseline id or prefix.
    pub baseline: String,
    /// An empty directory. Absolute.
    pub mount_path: BytesText,
}

/// Answer to [`StoreMount`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreMountReply {
    /// The baseline's full id.
    pub baseline: String,
    /// Where it is mounted, links resolved.
    pub mount_path: BytesText,
}

calls! {
    "store_ingest": StoreIngest => StoreIngestReply;
    "store_checkout": StoreCheckout => StoreCheckoutReply;
    "store_list": StoreList => StoreListReply;
    "store_ls": StoreLs => StoreLsReply;
    "store_cat": StoreCat => StoreCatReply;
    "store_diff": StoreDiff => StoreDiffReply;
    "store_stats": StoreStats => StoreStatsReply;
    "store_usage": StoreUsage => StoreUsageReply;
    "store_find_chunk": StoreFindChunk => StoreFindChunkReply;
    "store_delete": StoreDelete => StoreDeleteReply;
    "store_gc": StoreGc => StoreGcReply;
    "store_rebuild_index": StoreRebuildIndex => StoreRebuildIndexReply;
    "store_export_bundle": StoreExportBundle => StoreExportBundleReply;
    "store_import_bundle": StoreImportBundle => StoreImportBundleReply;
    "store_mount": StoreMount => StoreMountReply;
    "store_verify": StoreVerify => StoreVerifyReply;
}
