use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pyro_format::TreePath;
use pyro_store::{CheckoutOptions, Error, IngestReport, Result, Store};

use crate::support::{Scratch, look, noise, scratch};

fn sample() -> (Scratch, IngestReport) {
    let scratch = scratch();
    let source = scratch.source();
    fs::create_dir(source.join("dir")).unwrap();
    fs::write(source.join("dir/file"), b"content").unwrap();
    symlink("../../etc/passwd", source.join("dir/link")).unwrap();
    let report = scratch.ingest(&source).unwrap();
    (scratch, report)
}

fn check_out(
    store: &Store,
    report: &IngestReport,
    path: &str,
    dest: &Path,
    force: bool,
) -> Result<()> {
    let options = CheckoutOptions { force, durable: true };
    let path = TreePath::parse(path.as_bytes())?;
    store.checkout_baseline(report.baseline, &path, dest, &options, &()).map(|_| ())
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_directory_a_file_and_a_link_can_be_taken_alone() {
    let (scratch, report) = sample();
    let out = scratch.path("out");
    fs::create_dir(&out).unwrap();
    for path in ["dir", "dir/file", "dir/link"] {
        let name = path.replace('/', "-");
        check_out(&scratch.store, &report, path, &out.join(name), false).unwrap();
    }
    assert_eq!(look(&out.join("dir")), look(&scratch.path("source/dir")));
    assert_eq!(fs::read(out.join("dir-file")).unwrap(), b"content");
    assert_eq!(fs::read_link(out.join("dir-link")).unwrap(), Path::new("../../etc/passwd"));
    assert_eq!(names(&out), ["dir", "dir-file", "dir-link"]);
}

#[test]
fn what_is_there_stays_unless_forced_and_then_goes_whole() {
    let (scratch, report) = sample();
    let out = scratch.path("out");
    fs::create_dir(&out).unwrap();
    let dest = out.join("it");
    for old in ["dir", "file", "dangling link"] {
        match old {
            "dir" => fs::create_dir_all(dest.join("sub/read-only")).unwrap(),
            "file" => fs::write(&dest, b"old").unwrap(),
            _ => symlink("nowhere", &dest).unwrap(),
        }
        let refused = check_out(&scratch.store, &report, "dir", &dest, false);
        assert!(matches!(refused, Err(Error::Exists(_))), "{old}");
        check_out(&scratch.store, &report, "dir", &dest, true).unwrap();
        assert_eq!(look(&dest), look(&scratch.path("source/dir")), "{old}");
        assert_eq!(names(&out), ["it"], "{old}");
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
fn impossible_targets_are_refused() {
    let (scratch, report) = sample();
    let refuse = |dest: &Path| check_out(&scratch.store, &report, "", dest, true).unwrap_err();
    assert!(matches!(refuse(&scratch.path("no/dir")), Error::NoParent(_)));
    assert!(matches!(refuse(&scratch.path("source/dir/file/x")), Error::NoParent(_)));
    assert!(matches!(refuse(&scratch.path("..")), Error::BadTarget(_)));
    assert!(matches!(refuse(&scratch.store.dir().join("x")), Error::BadTarget(_)));
    assert!(matches!(refuse(scratch.store.dir()), Error::BadTarget(_)));
    let missing = check_out(&scratch.store, &report, "dir/none", &scratch.path("x"), false);
    assert!(matches!(missing, Err(Error::NoEntry(_))));
    let below = check_out(&scratch.store, &report, "dir/file/x", &scratch.path("x"), false);
    assert!(matches!(below, Err(Error::WrongKind { .. })));
}

#[test]
fn a_checkout_that_fails_leaves_nothing() {
    let mut scratch = scratch();
    let source = scratch.source();
    fs::create_dir(source.join("closed")).unwrap();
    fs::write(source.join("closed/a"), b"sound").unwrap();
    let content = noise(3, 50_000);
    fs::write(source.join("z"), &content).unwrap();
    let report = scratch.ingest(&source).unwrap();
    let pack = scratch.pack();
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[1000..1064]).unwrap();
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    scratch.reopen();
    let out = scratch.path("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("old"), b"old").unwrap();
    for dest in ["new", "old"] {
        let failed = check_out(&scratch.store, &report, "", &out.join(dest), true);
        assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
    }
    assert_eq!(names(&out), ["old"]);
    assert_eq!(fs::read(out.join("old")).unwrap(), b"old");
    assert!(names(&scratch.store.dir().join("checkouts")).is_empty());
}

#[test]
fn what_a_killed_checkout_left_is_removed_at_the_next_open() {
    let (mut scratch, _) = sample();
    let out = scratch.path("out");
    fs::create_dir_all(out.join(".it.pyro-0123456789abcdef/deep/er")).unwrap();
    fs::create_dir_all(out.join("precious")).unwrap();
    let record = |file: &str, name: &str| {
        let path = scratch.store.dir().join("checkouts").join(file);
        let dir = out.to_str().unwrap();
        let json = format!(r#"{{"dir": {{"path": "{dir}"}}, "name": {{"path": "{name}"}}}}"#);
        fs::write(path, json).unwrap();
    };
    record("a.json", ".it.pyro-0123456789abcdef");
    record("b.json", "precious");
    scratch.reopen();
    assert_eq!(names(&out), ["precious"]);
}
