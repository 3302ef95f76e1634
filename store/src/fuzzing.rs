//! What fuzzers throw bytes at: every decoder of bytes that may be hostile or damaged. Each function
//! must return, whatever the bytes; what decodes must encode to the same bytes again.
//!
//! Not part of the library's interface. The same functions run over the kept corpus in an ordinary
//! test, below.

mod forged;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use pyro_format::{ChunkList, EntryName, LinkTarget, RootNode, TimesNode, Tree, TreePath, escape};
use tempfile::TempDir;

use crate::baseline::BaselineRecord;
use crate::catalog;
use crate::ingest::{self, IngestOptions, IngestSource};
use crate::pack::Pack;
use crate::store::{Store, StoreOptions};
use crate::verify::check_pack;
pub use forged::forged;

/// Operations after which a scratch store is replaced by an empty one.
const REUSED: u32 = 500;

/// The nodes of trees, chosen by the first byte.
pub fn nodes(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let encoded = match kind % 4 {
        0 => Tree::decode(bytes).map(|node| node.encode()),
        1 => TimesNode::decode(bytes).map(|node| node.encode()),
        2 => RootNode::decode(bytes).map(|node| node.encode()),
        _ => ChunkList::decode(bytes).map(|node| node.encode()),
    };
    if let Ok(encoded) = encoded {
        assert_eq!(encoded, bytes, "what decodes is canonical");
    }
}

/// Names, link targets, paths, and how they are shown.
pub fn names(data: &[u8]) {
    if let Ok(name) = EntryName::parse(data) {
        assert_eq!(name.as_bytes(), data);
    }
    if let Ok(target) = LinkTarget::parse(data) {
        assert_eq!(target.as_bytes(), data);
    }
    if let Ok(path) = TreePath::parse(data) {
        let again = TreePath::parse(path.as_bytes()).expect("a path is a path");
        assert_eq!(again, path);
    }
    assert!(escape(data).chars().all(|c| !c.is_control()), "nothing reaches a terminal");
}

/// Records of baselines.
pub fn records(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<BaselineRecord>(data) {
        let json = serde_json::to_vec(&record).expect("a record is a document");
        let again: BaselineRecord = serde_json::from_slice(&json).expect("and is read as one");
        assert_eq!(again, record);
    }
}

/// Values of the index database.
pub fn index(data: &[u8]) {
    catalog::decode_any(data);
    ingest::decode_any(data);
}

/// A pack file.
pub fn pack(data: &[u8]) {
    let dir = scratch_dir();
    let path = dir.path().join("x.pack");
    fs::write(&path, data).expect("there is room");
    let Ok((pack, file)) = Pack::open_unnamed(&path) else { return };
    for number in 0..pack.trailer.records.min(64) {
        let _ = pack.record(&file, number);
    }
    for number in 0..pack.trailer.frames.min(64) {
        let _ = pack.frame(&file, number).map(|frame| pack.stored(&file, &frame));
    }
    let Ok(footer) = pack.footer(&file) else { return };
    check_pack(&pack, &file, &footer, 1, &()).expect("damage is no error");
}

/// An archive; the first byte chooses whether its name says that it is compressed.
pub fn archive(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let name = if kind % 2 == 0 { "x.tar" } else { "x.tar.gz" };
    with_store(name, bytes, |store, path| {
        let mut options = IngestOptions { unrecorded: true, ..IngestOptions::default() };
        options.limits.members = 1000;
        options.limits.bytes = 16 << 20;
        let _ = store.ingest(&IngestSource::Archive(path.to_owned()), &options, &());
    });
}

/// A bundle.
pub fn bundle(data: &[u8]) {
    // Forged as whole, so that what follows the hash is reached too.
    let forged = [data, blake3::hash(data).as_bytes()].concat();
    for bytes in [data, &forged[..]] {
        with_store("x.bundle", bytes, |store, path| {
            if let Ok(report) = store.import_bundle(path, &()) {
                for id in report.baselines {
                    store.baseline(id).expect("an imported baseline is on record");
                    store.remove_baseline(id).expect("and can be forgotten");
                }
            }
        });
    }
}

fn scratch_dir() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

thread_local! {
    static SCRATCH: RefCell<Option<(TempDir, Store, u32)>> = const { RefCell::new(None) };
}

fn with_store(name: &str, bytes: &[u8], work: impl FnOnce(&Store, &Path)) {
    SCRATCH.with_borrow_mut(|scratch| {
        let (dir, store, used) = scratch.get_or_insert_with(|| {
            let dir = scratch_dir();
            let options = StoreOptions { threads: 1, ..StoreOptions::default() };
            let store = Store::open(&dir.path().join("store"), options).expect("a new store");
            (dir, store, 0)
        });
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("there is room");
        work(store, &path);
        *used += 1;
        if *used == REUSED {
            *scratch = None;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    /// Runs a target over everything that is kept for it.
    fn replay(target: &str, run: Target) {
        let dir = corpus(target);
        let mut count = 0;
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{dir:?}: {error}")) {
            run(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{dir:?} is empty");
    }

    /// Real inputs for fuzzers to begin with.
    fn write_seeds() {
        let dir = scratch_dir();
        let source = dir.path().join("source");
        fs::create_dir_all(source.join("dir")).unwrap();
        fs::write(source.join("dir/file"), "some text\n".repeat(30)).unwrap();
        let large = vec![0; 300_000];
        fs::write(source.join("large"), &large).unwrap();
        std::os::unix::fs::symlink("dir/file", source.join("link")).unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let from = IngestSource::Directory(source.clone());
        let report = store.ingest(&from, &IngestOptions::default(), &()).unwrap();
        let record = store.baseline(report.baseline).unwrap();
        let root = store.get_root(record.root).unwrap();
        let bundle = dir.path().join("bundle");
        store.export_bundle(&[record.id], &bundle, false, &()).unwrap();
        let mut bundle = fs::read(bundle).unwrap();
        bundle.truncate(bundle.len() - 32);
        let pack = store.shared.packs().remove(0).1;
        let list = store.get(pyro_format::FileId::of(&large)).unwrap();
        let mut tar = tar::Builder::new(vec![0]);
        tar.append_dir_all("top", source.join("dir")).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut gz = flate2::write::GzEncoder::new(vec![1], flate2::Compression::default());
        std::io::Write::write_all(&mut gz, &tar[1..]).unwrap();
        let node = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
        let tree = store.get_tree(root.tree).unwrap().encode();
        let times = store.get_times(record.times).unwrap().encode();
        let seeds: [(&str, &str, Vec<u8>); 12] = [
            ("nodes", "tree", node(0, &tree)),
            ("nodes", "times", node(1, &times)),
            ("nodes", "root", node(2, &root.encode())),
            ("nodes", "list", node(3, &list)),
            ("names", "path", b"dir/\xff name/..x".to_vec()),
            ("records", "record", serde_json::to_vec(&record).unwrap()),
            ("index", "entry", vec![7; 160]),
            ("pack", "pack", fs::read(&pack.path).unwrap()),
            ("archive", "tar", tar),
            ("archive", "gz", gz.finish().unwrap()),
            ("bundle", "bundle", bundle),
            ("bundle", "cut", b"PYROBNDL\x01\0\0\0\0\0\0\0".to_vec()),
        ];
        for (target, name, bytes) in seeds {
            let dir = corpus(target);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("seed-{name}")), bytes).unwrap();
        }
    }

    fn corpus(target: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fuzz").join(target)
    }

    #[test]
    fn every_kept_input_is_survived() {
        if std::env::var_os("PYRO_WRITE_SEEDS").is_some() {
            write_seeds();
        }
        let targets: [(&str, Target); 8] = [
            ("nodes", nodes),
            ("names", names),
            ("records", records),
            ("index", index),
            ("pack", pack),
            ("archive", archive),
            ("bundle", bundle),
            ("forged", forged),
        ];
        for (target, run) in targets {
            replay(target, run);
        }
    }
}
