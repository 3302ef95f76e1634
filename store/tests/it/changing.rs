use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyro_store::{Error, IngestOptions, IngestSource, Progress};

use crate::support::scratch;

/// Appends to a file whenever some of it has been read, a few times.
struct Appender {
    file: PathBuf,
    times: AtomicUsize,
}

impl Progress for Appender {
    fn advance(&self, _entries: u64, bytes: u64) {
        let left = |left: usize| left.checked_sub(1);
        if bytes > 0 && self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            let mut file = OpenOptions::new().append(true).open(&self.file).unwrap();
            file.write_all(b"more").unwrap();
        }
    }
}

#[test]
fn a_file_that_changes_is_read_again_then_refused_or_flagged() {
    let scratch = scratch();
    let source = scratch.source();
    let file = source.join("log");
    let ingest = |times, allow_changing| {
        fs::write(&file, b"first").unwrap();
        let appender = Appender { file: file.clone(), times: AtomicUsize::new(times) };
        let options = IngestOptions { allow_changing, ..IngestOptions::default() };
        scratch.store.ingest(&IngestSource::Directory(source.clone()), &options, &appender)
    };
    let report = ingest(2, false).unwrap();
    assert_eq!((report.bytes_total, report.changing.len()), (5 + 8, 0));
    match ingest(1000, false) {
        Err(Error::Changing(path)) => assert_eq!(path, file),
        other => panic!("{other:?}"),
    }
    let report = ingest(1000, true).unwrap();
    assert_eq!(report.changing[0].to_string(), "log");
    assert_eq!(scratch.store.baselines().unwrap().len(), 2, "the refused one is not on record");
}

struct Cancelled;

impl Progress for Cancelled {
    fn advance(&self, _entries: u64, _bytes: u64) {}
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn a_cancelled_ingest_leaves_no_baseline() {
    let scratch = scratch();
    let source = IngestSource::Directory(scratch.source());
    let result = scratch.store.ingest(&source, &IngestOptions::default(), &Cancelled);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(scratch.store.baselines().unwrap().is_empty());
}

#[test]
fn an_unchanged_tree_is_not_opened_again_and_a_changed_file_is() {
    let mut scratch = scratch();
    let source = scratch.source();
    for at in 0..50 {
        fs::write(source.join(format!("f{at}")), vec![at; 40_000]).unwrap();
    }
    let first = scratch.ingest(&source).unwrap();
    scratch.reopen();
    let again = scratch.ingest(&source).unwrap();
    assert_eq!((again.files_unchanged, again.baseline), (50, first.baseline));
    fs::write(source.join("f7"), b"new").unwrap();
    let changed = scratch.ingest(&source).unwrap();
    assert_eq!((changed.files_unchanged, changed.bytes_new), (49, 3));

    // What the stat cache remembers is worth nothing when the content is gone.
    for pack in scratch.packs() {
        fs::remove_file(pack).unwrap();
    }
    scratch.reopen();
    let report = scratch.ingest(&source).unwrap();
    assert_eq!(report.files_unchanged, 0);
    assert!(report.chunks_new > 0 && scratch.store.has_chunk(pyro_format::ChunkId::of(b"new")));
}
