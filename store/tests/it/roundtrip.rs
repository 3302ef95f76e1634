use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use crate::support::{look, noise, scratch};

#[derive(Debug, Clone)]
enum Thing {
    File { mode: u32, seed: u64, len: usize },
    Link(Vec<u8>),
    Dir { mode: u32, children: BTreeMap<Vec<u8>, Thing> },
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no name", |byte| !matches!(byte, 0 | b'/'));
    prop_oneof![
        prop::collection::vec(byte, 1..9),
        Just(vec![b'n'; 255]),
        Just(b"new\nline \xff".to_vec()),
    ]
    .prop_filter("no dots", |name| !matches!(&name[..], b"." | b".."))
}

fn thing() -> impl Strategy<Value = Thing> {
    let len = prop_oneof![Just(0), 1usize..3000, 32_760usize..32_780, 60_000usize..700_000];
    let leaf = prop_oneof![
        3 => (0u32..=0o377, any::<u64>(), len)
            .prop_map(|(mode, seed, len)| Thing::File { mode: mode | 0o400, seed, len }),
        1 => prop::collection::vec(1u8.., 1..60).prop_map(Thing::Link),
    ];
    leaf.prop_recursive(5, 30, 6, |inner| {
        (0u32..=0o377, prop::collection::btree_map(name(), inner, 0..6))
            .prop_map(|(mode, children)| Thing::Dir { mode: mode | 0o500, children })
    })
}

fn make(path: &Path, thing: &Thing, age: u64) {
    match thing {
        Thing::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Thing::File { mode, seed, len } => {
            fs::write(path, noise(*seed, *len)).unwrap();
            set_mode_and_age(path, *mode, age);
        }
        Thing::Dir { mode, children } => {
            fs::create_dir(path).unwrap();
            for (at, (name, child)) in children.iter().enumerate() {
                make(&path.join(OsStr::from_bytes(name)), child, age * 7 + at as u64);
            }
            set_mode_and_age(path, *mode, age);
        }
    }
}

fn set_mode_and_age(path: &Path, mode: u32, age: u64) {
    let time = SystemTime::now() - Duration::new(age % 1_000_000, (age % 999) as u32);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back_as_it_was(children in prop::collection::btree_map(name(), thing(), 0..8)) {
        let scratch = scratch();
        let source = scratch.path("source");
        make(&source, &Thing::Dir { mode: 0o750, children }, 3);
        let report = scratch.ingest(&source).unwrap();
        let copy = scratch.check_out(&report, "copy");
        let seen = look(&source);
        prop_assert_eq!(&look(&copy), &seen);
        prop_assert_eq!(report.entry_count as usize, seen.len() - 1);

        // The copy is the same baseline, and nothing of it is new.
        let again = scratch.ingest(&copy).unwrap();
        prop_assert_eq!((again.baseline, again.chunks_new), (report.baseline, 0));
        prop_assert!(scratch.store.verify(&()).unwrap().is_clean());
    }
}

#[test]
fn a_tree_spread_over_many_packs_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = pyro_store::StoreOptions { pack_bytes: 1 << 20, ..crate::support::options() };
    let store = pyro_store::Store::open(&dir.path().join("store"), options).unwrap();
    let scratch = crate::support::Scratch { store, dir };
    let source = scratch.source();
    for at in 0..200 {
        let path = source.join(format!("d{}", at % 7));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("f{at}")), noise(at, 40_000)).unwrap();
    }
    fs::write(source.join("same"), noise(1, 40_000)).unwrap();
    let report = scratch.ingest(&source).unwrap();
    assert!(scratch.packs().len() >= 7, "{:?}", scratch.packs());
    assert_eq!(report.bytes_new, 200 * 40_000, "the same content is stored once");
    assert_eq!(look(&scratch.check_out(&report, "copy")), look(&source));
    assert!(scratch.store.verify(&()).unwrap().is_clean());
}

#[test]
fn paths_beyond_every_length_limit_come_back() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let scratch = scratch();
    let source = scratch.source();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut fd = openat(CWD, &source, flags, Mode::empty()).unwrap();
    for _ in 0..2100 {
        mkdirat(&fd, "d", Mode::RWXU).unwrap();
        mkdirat(&fd, "sibling", Mode::RWXU).unwrap();
        fd = openat(&fd, "d", flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = openat(&fd, "deep", flags, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(&file, b"content").unwrap();
    let report = scratch.ingest(&source).unwrap();
    assert_eq!(report.entry_count, 2 * 2100 + 1);
    let copy = scratch.check_out(&report, "copy");
    assert_eq!(scratch.ingest(&copy).unwrap().root, report.root);
    assert!(scratch.store.verify(&()).unwrap().is_clean());
}

#[test]
fn a_sparse_file_stays_sparse_and_costs_nothing() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let scratch = scratch();
    let source = scratch.source();
    let file = fs::File::create(source.join("disk")).unwrap();
    file.set_len(2 << 30).unwrap();
    file.write_all_at(b"in the middle", 1 << 30).unwrap();
    let report = scratch.ingest(&source).unwrap();
    assert_eq!(report.bytes_total, 2 << 30);
    assert!(report.bytes_new < 2 << 20, "{report:?}");
    let copy = scratch.check_out(&report, "copy").join("disk");
    let meta = copy.metadata().unwrap();
    assert_eq!(meta.len(), 2 << 30);
    assert!(meta.blocks() * 512 < 2 << 20);
    let mut middle = [0; 13];
    fs::File::open(copy).unwrap().read_exact_at(&mut middle, 1 << 30).unwrap();
    assert_eq!(&middle, b"in the middle");
}
