//! Taking in a directory, an archive or a single file.
//!
//! ```text
//! walk (threads) ─ read, hash, cut ─ known? ─ no ─▶ frame ─▶ pack ─ sync, read back ─▶ index
//!        └─ stat cache: unchanged files are not opened                     then: baseline record
//! ```
//! Memory is bounded by the number of threads, except that the names of one directory are in memory
//! while it is read, and an archive's names while it is.

mod archive;
mod contents;
mod dir;
mod file;
pub(crate) mod filter;
mod git;
mod layers;
mod members;
mod meter;
mod source;
mod sparse;
mod statcache;
mod stream;
mod tarball;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyro_format::{BaselineId, BaselineKey, Mtime, Node, RootId, RootNode, TimesId};

pub use layers::ImageIngest;
use statcache::StatCache;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use statcache::decode_any;
pub(crate) use statcache::forget_unstored;

use crate::baseline::{BaselineRecord, PathBytes, Skipped, Warning, now_ms};
use crate::error::Result;
use crate::holds::Pin;
use crate::progress::Progress;
use crate::reach::Root;
use crate::store::{Shared, Store, locked};
use crate::writer::{Batch, Sink, Written};

/// What is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestSource {
    /// A directory with everything in it.
    Directory(PathBuf),
    /// A `.tar`, `.tar.gz` or `.tgz` file.
    Archive(PathBuf),
}

/// What an archive may hold at most.
#[derive(Debug, Clone)]
pub struct ArchiveLimits {
    /// Members of all kinds.
    pub members: u64,
    /// Bytes of the archive when decompressed, and of all files in it.
    pub bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { members: 10_000_000, bytes: 64 << 30 }
    }
}

/// How a source is taken in.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Patterns, as in a `.gitignore` file at the top of the source, of what to leave out.
    pub exclude: Vec<String>,
    /// Leave out what the source's own `.gitignore` files and `.git/info/exclude` say.
    pub gitignore: bool,
    /// Keep the last read of a file that changes while it is read, instead of failing.
    pub allow_changing: bool,
    /// List what the caller may not read as skipped, instead of failing.
    pub skip_unreadable: bool,
    /// Write no baseline record: the tree is for the caller alone, who has to keep it in use.
    pub unrecorded: bool,
    /// Write a record that says that it goes with the caller's own (see
    /// [`BaselineRecord::implicit`]).
    pub implicit: bool,
    /// Bounds for archives.
    pub limits: ArchiveLimits,
}

/// What was taken in.
#[derive(Debug, Clone)]
pub struct IngestReport {
    /// The baseline: content and times.
    pub baseline: BaselineId,
    /// What the baseline's id is made of.
    pub key: BaselineKey,
    /// The content alone.
    pub root: RootId,
    /// Files, directories and links, without the top directory.
    pub entry_count: u64,
    /// Files.
    pub file_count: u64,
    /// Bytes in all files.
    pub bytes_total: u64,
    /// Bytes of content that the store did not have, before compression.
    pub bytes_new: u64,
    /// Chunks that the store did not have.
    pub chunks_new: u64,
    /// Bytes that the new packs take on disk.
    pub stored_bytes: u64,
    /// Files that were not opened, because the stat cache knows them.
    pub files_unchanged: u64,
    /// What was left out, sorted by path; entries that a pattern excludes are not listed.
    pub skipped: Vec<Skipped>,
    /// Files that changed while they were read, sorted.
    pub changing: Vec<PathBytes>,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
    /// How long it took.
    pub duration: Duration,
    /// Keeps the tree until it is on some record.
    pub pin: Arc<Pin>,
}

/// A single file or link that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleReport {
    /// What it is.
    pub node: Node,
    /// Its modification time.
    pub mtime: Mtime,
    /// Whether it changed while it was read.
    pub changing: bool,
    /// What it added to the store.
    pub written: Written,
}

/// Counts and lists that all threads of an ingest add to.
#[derive(Default)]
pub(crate) struct Tally {
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    entries: u64,
    files: u64,
    bytes: u64,
    unchanged: u64,
    skipped: Vec<Skipped>,
    changing: Vec<PathBytes>,
    warnings: Vec<Warning>,
}

impl Tally {
    fn skip(&self, path: Vec<u8>, reason: crate::SkipReason) {
        locked(&self.lists).skipped.push(Skipped { path: PathBytes(path), reason });
    }

    fn warn(&self, path: Vec<u8>, message: String) {
        locked(&self.lists).warnings.push(Warning { path: PathBytes(path), message });
    }
}

/// The finished top of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Top {
    root: RootNode,
    times: TimesId,
    mtime: Mtime,
}

impl IngestSource {
    /// A directory, or a file whose name says that it is an archive. Follows links.
    pub fn detect(path: &Path) -> Result<Self> {
        source::detect(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Archive(path) => path,
        }
    }
}

impl Store {
    /// Takes in a directory or an archive. When it returns, everything is durable; when it fails,
    /// nothing is visible.
    pub fn ingest(
        &self,
        source: &IngestSource,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<IngestReport> {
        let started = Instant::now();
        // Once more only if something left the store meanwhile that the stat cache relied on.
        loop {
            if let Some(report) = self.ingest_once(source, options, progress, started)? {
                return Ok(report);
            }
        }
    }

    fn ingest_once(
        &self,
        source: &IngestSource,
        options: &IngestOptions,
        progress: &dyn Progress,
        started: Instant,
    ) -> Result<Option<IngestReport>> {
        let Shared { trust, catalog, .. } = &*self.shared;
        let stats = StatCache::new(self, trust.begin(catalog)?);
        let batch = Batch::new(self);
        let tally = Tally::default();
        let top = match source {
            IngestSource::Directory(path) => {
                walk::ingest(&batch, path, options, &stats, &tally, progress)?
            }
            IngestSource::Archive(path) => {
                archive::ingest(&batch, path, options, &tally, progress)?
            }
        };
        let (root, written) = put_top(Sink::new(&batch)?, &batch, &top)?;
        let session = stats.finish()?;
        let key = BaselineKey { root, times: top.times, mtime: top.mtime };
        let Some(gate) = trust.gate(&session) else { return Ok(None) };
        let pin = self.pin(Root { root, times: Some(top.times) });
        let report = report(key, written, tally, started, pin);
        if !options.unrecorded {
            self.record_baseline(&record(&report, source.path(), options.implicit))?;
        }
        drop(gate);
        trust.commit(session, catalog)?;
        Ok(Some(report))
    }

    /// Takes in one regular file or symbolic link; a link is stored, not followed. Writes no
    /// record: the caller puts the node into a tree.
    pub fn ingest_single(
        &self,
        path: &Path,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<SingleReport> {
        source::single(self, path, options, progress)
    }
}

/// Stores the top of a tree, and with it all that was put through the batch.
fn put_top(mut sink: Sink, batch: &Arc<Batch>, top: &Top) -> Result<(RootId, Written)> {
    let root = sink.put_root(&top.root)?;
    sink.flush()?;
    Ok((root, batch.finish()?))
}

/// Stores and records a tree that relied on nothing that the stat cache remembered.
fn finish(
    store: &Store,
    sink: Sink,
    batch: &Arc<Batch>,
    top: Top,
    tally: Tally,
    started: Instant,
    source: &Path,
) -> Result<IngestReport> {
    let (root, written) = put_top(sink, batch, &top)?;
    let key = BaselineKey { root, times: top.times, mtime: top.mtime };
    let pin = store.pin(Root { root, times: Some(top.times) });
    let report = report(key, written, tally, started, pin);
    store.record_baseline(&record(&report, source, false))?;
    Ok(report)
}

fn report(
    key: BaselineKey,
    written: Written,
    tally: Tally,
    started: Instant,
    pin: Pin,
) -> IngestReport {
    let lists = std::mem::take(&mut *locked(&tally.lists));
    let Lists { mut skipped, mut changing, mut warnings, .. } = lists;
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    changing.sort();
    warnings.sort_by(|a, b| a.path.cmp(&b.path));
    IngestReport {
        baseline: key.id(),
        key,
        root: key.root,
        entry_count: lists.entries,
        file_count: lists.files,
        bytes_total: lists.bytes,
        bytes_new: written.chunk_bytes,
        chunks_new: written.chunks,
        stored_bytes: written.stored_bytes,
        files_unchanged: lists.unchanged,
        skipped,
        changing,
        warnings,
        duration: started.elapsed(),
        pin: Arc::new(pin),
    }
}

fn record(report: &IngestReport, source: &Path, implicit: bool) -> BaselineRecord {
    BaselineRecord {
        schema: 1,
        id: report.baseline,
        root: report.root,
        times: report.key.times,
        mtime: report.key.mtime,
        source: PathBytes(source.as_os_str().as_encoded_bytes().to_vec()),
        implicit,
        created_at_ms: now_ms(),
        entry_count: report.entry_count,
        file_count: report.file_count,
        bytes_total: report.bytes_total,
        skipped: report.skipped.clone(),
        changing: report.changing.clone(),
        warnings: report.warnings.clone(),
    }
}

/// One sink for each thread of the store's options.
fn sinks(batch: &Arc<Batch>) -> Result<Vec<Sink>> {
    let threads = batch.store().shared.options.threads;
    (0..threads.max(1)).map(|_| Sink::new(batch)).collect()
}
