//! Scratch stores, and directories as values.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_format::TreePath;
use pyro_store::{
    CheckoutOptions, IngestOptions, IngestReport, IngestSource, Result, Store, StoreOptions,
};
use tempfile::TempDir;

/// A store in a directory that goes away with it, and room beside it.
pub struct Scratch {
    pub store: Store,
    pub dir: TempDir,
}

pub fn options() -> StoreOptions {
    StoreOptions { stat_margin: Duration::ZERO, ..StoreOptions::default() }
}

pub fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), options()).unwrap();
    Scratch { store, dir }
}

impl Scratch {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory beside the store.
    pub fn source(&self) -> PathBuf {
        let path = self.path("source");
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn ingest(&self, path: &Path) -> Result<IngestReport> {
        self.ingest_with(path, &IngestOptions::default())
    }

    pub fn ingest_with(&self, path: &Path, options: &IngestOptions) -> Result<IngestReport> {
        self.store.ingest(&IngestSource::detect(path)?, options, &())
    }

    pub fn check_out(&self, report: &IngestReport, name: &str) -> PathBuf {
        let dest = self.path(name);
        let options = CheckoutOptions { durable: false, ..CheckoutOptions::default() };
        self.store
            .checkout_baseline(report.baseline, &TreePath::root(), &dest, &options, &())
            .unwrap();
        dest
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        let path = self.store.dir().to_owned();
        let elsewhere = tempfile::tempdir().unwrap();
        self.store = Store::open(elsewhere.path(), options()).unwrap();
        self.store = Store::open(&path, options()).unwrap();
    }

    /// The store's only pack.
    pub fn pack(&self) -> PathBuf {
        let mut packs = self.packs();
        assert_eq!(packs.len(), 1);
        packs.remove(0)
    }

    pub fn packs(&self) -> Vec<PathBuf> {
        let dir = self.store.dir().join("packs");
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// What one path is: kind, mode, mtime and content or target.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub mtime: (i64, i64),
    pub content: Vec<u8>,
}

/// Everything below `top`, by path; the top itself as the empty path.
pub fn look(top: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let mtime = (meta.mtime(), meta.mtime_nsec());
        seen.insert(name, Seen { mode: meta.mode(), mtime, content });
    }
    seen
}

/// Bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
