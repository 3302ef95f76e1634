use std::fs;

use pyro_store::{Error, Store};

use crate::support::{noise, options, scratch};

fn refusal(path: &std::path::Path) -> Error {
    match Store::open(path, options()) {
        Ok(_) => panic!("{path:?} was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let scratch = scratch();
    assert!(matches!(refusal(scratch.store.dir()), Error::Locked(_)));
    let path = scratch.store.dir().to_owned();
    drop(scratch.store);
    Store::open(&path, options()).unwrap();
}

#[test]
fn a_directory_that_holds_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), b"x").unwrap();
    assert!(matches!(refusal(dir.path()), Error::NotAStore { .. }));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_newer_or_garbled_format_is_refused() {
    let scratch = scratch();
    let path = scratch.store.dir().to_owned();
    drop(scratch.store);
    fs::write(path.join("version"), b"3\n").unwrap();
    assert!(matches!(refusal(&path), Error::NewerFormat { known: 2, .. }));
    fs::write(path.join("version"), b"\xff").unwrap();
    assert!(matches!(refusal(&path), Error::NotAStore { .. }));
}

#[test]
fn a_store_whose_making_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("packs")).unwrap();
    fs::write(dir.path().join("lock"), b"").unwrap();
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn a_missing_or_broken_index_is_rebuilt() {
    let mut scratch = scratch();
    let source = scratch.source();
    fs::write(source.join("file"), b"content").unwrap();
    let report = scratch.ingest(&source).unwrap();
    let index = scratch.store.dir().join("index");
    for breaking in ["none", "removed", "garbage", "a file"] {
        let elsewhere = tempfile::tempdir().unwrap();
        scratch.store = Store::open(elsewhere.path(), options()).unwrap();
        if breaking == "garbage" {
            for name in ["conf", "db"] {
                fs::write(index.join(name), vec![0x5a; 70_000]).unwrap();
            }
        } else if breaking != "none" {
            fs::remove_dir_all(&index).unwrap();
            if breaking == "a file" {
                fs::write(&index, b"").unwrap();
            }
        }
        scratch.store = Store::open(index.parent().unwrap(), options()).unwrap();
        let verified = scratch.store.verify(&()).unwrap();
        assert!(verified.is_clean() && verified.objects > 0, "{breaking}: {verified:?}");
        assert_eq!(scratch.ingest(&source).unwrap().chunks_new, 0, "{breaking}");
        assert_eq!(scratch.store.baselines().unwrap()[0].id, report.baseline);
    }
}

#[test]
fn a_rebuilt_index_finds_everything_and_also_packs_that_came_or_went() {
    let mut scratch = scratch();
    let source = scratch.source();
    fs::write(source.join("a"), noise(1, 100_000)).unwrap();
    let report = scratch.ingest(&source).unwrap();
    fs::write(source.join("b"), noise(2, 1000)).unwrap();
    let second = scratch.ingest(&source).unwrap();
    let rebuilt = scratch.store.rebuild_index().unwrap();
    assert_eq!((rebuilt.packs, rebuilt.damaged_packs.len()), (2, 0));
    assert!(scratch.store.verify(&()).unwrap().is_clean());
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for pack in scratch.packs() {
        fs::rename(&pack, elsewhere.join(pack.file_name().unwrap())).unwrap();
    }
    assert_eq!(scratch.store.rebuild_index().unwrap().objects, 0);
    assert!(!scratch.store.verify(&()).unwrap().is_clean());
    for pack in fs::read_dir(&elsewhere).unwrap() {
        let pack = pack.unwrap();
        fs::rename(pack.path(), scratch.store.dir().join("packs").join(pack.file_name())).unwrap();
    }
    assert_eq!(scratch.store.rebuild_index().unwrap(), rebuilt);
    for baseline in [report.baseline, second.baseline] {
        assert!(scratch.store.baseline(baseline).is_ok());
    }
    assert!(scratch.store.verify(&()).unwrap().is_clean());
    scratch.reopen();
    assert!(scratch.store.verify(&()).unwrap().is_clean());
    assert_eq!(scratch.ingest(&source).unwrap().baseline, second.baseline);
}
