//! Stores that are kept as they are: a sound one, which every later program must read, and broken ones,
//! of which each must be refused or reported in its own way.
//!
//! `PYRO_WRITE_STORES=1` makes `fixtures/stores` anew.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pyro_format::{BaselineId, TreePath};
use pyro_store::{
    CheckoutOptions, Error, IngestOptions, IngestSource, Store, StoreOptions, VerifyReport,
};

use crate::support::options;

/// What must become of a broken store.
enum Verdict {
    /// It does not open.
    Refused(fn(&Error) -> bool),
    /// It opens, and this is what a verification says.
    Found(fn(&VerifyReport) -> bool),
}
use Verdict::{Found, Refused};

type Break = fn(&Path);

/// A pack of the sound store is its header, one frame of content, one of nodes, table, records and
/// trailer: its last 56 bytes are the trailer, and what is before are records of 45 bytes.
const BROKEN: [(&str, Break, Verdict); 13] = [
    ("flipped-frame", |at| flip(at, 100), Found(|v| !v.damaged_objects.is_empty())),
    ("flipped-record", |at| flip_back(at, 56 + 20), Found(|v| v.damaged_packs.len() == 1)),
    ("flipped-trailer", |at| flip_back(at, 30), Found(|v| v.damaged_packs.len() == 1)),
    ("flipped-header", |at| flip(at, 9), Found(|v| v.damaged_packs.len() == 1)),
    ("cut-pack", |at| cut(at, 300), Found(|v| v.damaged_packs.len() == 1)),
    ("empty-pack", |at| cut(at, 0), Found(|v| v.damaged_packs.len() == 1)),
    ("lost-pack", |at| fs::remove_file(pack(at)).unwrap(), Found(|v| !v.broken_paths.is_empty())),
    ("garbled-record", |at| fs::write(record(at), "{").unwrap(), Found(broken_record)),
    ("foreign-record", foreign_record, Found(broken_record)),
    ("garbage-index", garbage_index, Found(VerifyReport::is_clean)),
    ("unfinished", unfinished, Found(VerifyReport::is_clean)),
    ("newer", |at| fs::write(at.join("version"), "3\n").unwrap(), Refused(newer)),
    ("garbled-version", |at| fs::write(at.join("version"), "two").unwrap(), Refused(no_store)),
];

fn newer(error: &Error) -> bool {
    matches!(error, Error::NewerFormat { .. })
}

fn no_store(error: &Error) -> bool {
    matches!(error, Error::NotAStore { .. })
}

fn broken_record(report: &VerifyReport) -> bool {
    report.broken_baselines.len() == 1
}

fn only(dir: &Path) -> PathBuf {
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

fn pack(store: &Path) -> PathBuf {
    only(&store.join("packs"))
}

fn record(store: &Path) -> PathBuf {
    only(&store.join("baselines"))
}

fn flip(store: &Path, at: usize) {
    let mut bytes = fs::read(pack(store)).unwrap();
    bytes[at] ^= 1;
    fs::write(pack(store), bytes).unwrap();
}

fn flip_back(store: &Path, from_end: usize) {
    let len = pack(store).metadata().unwrap().len() as usize;
    flip(store, len - from_end);
}

fn cut(store: &Path, len: usize) {
    let bytes = fs::read(pack(store)).unwrap();
    fs::write(pack(store), &bytes[..len]).unwrap();
}

fn foreign_record(store: &Path) {
    let other = format!("{}.json", "0".repeat(64));
    fs::rename(record(store), store.join("baselines").join(other)).unwrap();
}

fn garbage_index(store: &Path) {
    fs::create_dir(store.join("index")).unwrap();
    for file in ["conf", "db"] {
        fs::write(store.join("index").join(file), [0x5a; 700]).unwrap();
    }
}

fn unfinished(store: &Path) {
    fs::write(store.join("packs/.unfinished-a"), "half a pack").unwrap();
    fs::write(store.join("baselines/.unfinished-b"), "{").unwrap();
}

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/stores")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A copy that may be opened: git keeps no empty directories, and opening changes a store.
fn fixture(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    copy(&stores().join(name), &path);
    for sub in ["packs", "baselines"] {
        fs::create_dir_all(path.join(sub)).unwrap();
    }
    (dir, path)
}

/// The content of the sound store.
fn fill(source: &Path) {
    fs::create_dir_all(source.join("dir/below")).unwrap();
    fs::write(source.join("dir/one"), "the first file\n").unwrap();
    fs::write(source.join("dir/below/two"), "the second file\n".repeat(40)).unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("zeroes"), vec![0; 300_000]).unwrap();
    symlink("dir/one", source.join("link")).unwrap();
}

fn write_fixtures() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fill(&source);
    let sound = stores().join("sound");
    let _ = fs::remove_dir_all(stores());
    let options = StoreOptions { threads: 1, ..options() };
    let store = Store::open(&sound, options).unwrap();
    store.ingest(&IngestSource::Directory(source), &IngestOptions::default(), &()).unwrap();
    drop(store);
    let strip = |store: &Path| {
        let _ = fs::remove_dir_all(store.join("index"));
        let _ = fs::remove_file(store.join("lock"));
        for sub in ["checkouts", "mounts"] {
            let _ = fs::remove_dir(store.join(sub));
        }
    };
    strip(&sound);
    for (name, damage, _) in &BROKEN {
        let path = stores().join(name);
        copy(&sound, &path);
        damage(&path);
    }
}

#[test]
fn kept_stores_are_read_refused_or_reported_as_they_should_be() {
    if std::env::var_os("PYRO_WRITE_STORES").is_some() {
        write_fixtures();
    }
    let (dir, path) = fixture("sound");
    let store = Store::open(&path, options()).unwrap();
    assert!(store.verify(&()).unwrap().is_clean());
    let baseline: BaselineId = store.baseline_ids().unwrap()[0];
    let out = dir.path().join("out");
    let plain = CheckoutOptions { durable: false, ..CheckoutOptions::default() };
    store.checkout_baseline(baseline, &TreePath::root(), &out, &plain, &()).unwrap();
    let expected = dir.path().join("expected");
    fill(&expected);
    let content = |top: &Path| -> Vec<_> {
        let seen = crate::support::look(top).into_iter();
        seen.map(|(path, seen)| (path, seen.mode, seen.content)).collect()
    };
    assert_eq!(content(&out), content(&expected));

    for (name, _, verdict) in BROKEN {
        let (_dir, path) = fixture(name);
        match (Store::open(&path, options()), verdict) {
            (Err(error), Refused(right)) => assert!(right(&error), "{name}: {error}"),
            (Ok(store), Found(right)) => {
                let report = store.verify(&()).unwrap();
                assert!(right(&report), "{name}: {report:?}");
                // A healthy source heals whatever can be healed.
                let source = dir.path().join("expected");
                let from = IngestSource::Directory(source);
                let healed = store.ingest(&from, &IngestOptions::default(), &()).unwrap().baseline;
                let report = store.verify(&()).unwrap();
                assert!(report.broken_paths.iter().all(|p| p.baseline != healed), "{name}");
            }
            (Ok(_), Refused(_)) => panic!("{name} was opened"),
            (Err(error), Found(_)) => panic!("{name}: {error}"),
        }
    }
}
