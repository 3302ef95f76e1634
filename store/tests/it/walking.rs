use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pyro_format::{FileId, Node, TreePath};
use pyro_store::{Error, IngestOptions, IngestSource, SkipReason, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Scratch, options, scratch};

fn paths(scratch: &Scratch, report: &pyro_store::IngestReport) -> Vec<String> {
    let mut found = Vec::new();
    let mut stack = vec![TreePath::root()];
    while let Some(path) = stack.pop() {
        for listed in scratch.store.ls(report.baseline, &path).unwrap() {
            let path = path.join(&listed.name);
            found.push(path.to_string());
            if matches!(listed.item.node, Node::Dir { .. }) {
                stack.push(path);
            }
        }
    }
    found.sort();
    found
}

fn fill(source: &Path, files: &[&str]) {
    for file in files {
        let path = source.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.as_bytes()).unwrap();
    }
}

#[test]
fn sockets_and_fifos_are_listed_as_skipped() {
    let scratch = scratch();
    let source = scratch.source();
    let _socket = UnixListener::bind(source.join("socket")).unwrap();
    mknodat(CWD, source.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let report = scratch.ingest(&source).unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(|s| (s.path.to_string(), s.reason)).collect();
    let expected = [("fifo", SkipReason::Fifo), ("socket", SkipReason::Socket)];
    assert_eq!(skipped, expected.map(|(path, reason)| (path.to_owned(), reason)));
    assert_eq!(report.entry_count, 0);
    let single = scratch.store.ingest_single(&source.join("fifo"), &Default::default(), &());
    assert!(matches!(single, Err(Error::Source { .. })));
}

#[test]
fn patterns_leave_out_what_they_name_and_gitignore_only_when_asked() {
    let scratch = scratch();
    let source = scratch.source();
    fill(
        &source,
        &["a.o", "b.c", "sub/c.o", "sub/keep.o", "target/x", "sub/target/y", ".git/HEAD"],
    );
    fs::write(source.join(".gitignore"), "*.o\n.git\n").unwrap();
    fs::write(source.join("sub/.gitignore"), "!keep.o\n").unwrap();
    fs::create_dir(source.join(".git/info")).unwrap();
    fs::write(source.join(".git/info/exclude"), "b.c\n").unwrap();
    let all = scratch.ingest(&source).unwrap();
    assert_eq!(all.file_count, 10);
    let options = IngestOptions {
        exclude: vec!["/target".into()],
        gitignore: true,
        ..IngestOptions::default()
    };
    let report = scratch.ingest_with(&source, &options).unwrap();
    let expected = [
        ".git",
        ".git/HEAD",
        ".git/info",
        ".git/info/exclude",
        ".gitignore",
        "sub",
        "sub/.gitignore",
        "sub/keep.o",
        "sub/target",
        "sub/target/y",
    ];
    assert_eq!(paths(&scratch, &report), expected);
    let bad = IngestOptions { exclude: vec!["a[".into()], ..IngestOptions::default() };
    assert!(matches!(scratch.ingest_with(&source, &bad), Err(Error::Pattern { .. })));
}

#[test]
fn a_source_that_holds_the_store_or_lies_in_it_is_refused() {
    let scratch = scratch();
    for path in [scratch.dir.path().to_owned(), scratch.store.dir().join("packs")] {
        let refused = scratch.ingest(&path);
        assert!(matches!(refused, Err(Error::SourceOverlapsStore { .. })), "{refused:?}");
    }
    // Reached on the walk although a pattern is given, unless the pattern is for the store.
    let exclude = |pattern: &str| IngestOptions {
        exclude: vec![pattern.to_owned()],
        ..IngestOptions::default()
    };
    let refused = scratch.ingest_with(scratch.dir.path(), &exclude("*.o"));
    assert!(matches!(refused, Err(Error::SourceOverlapsStore { .. })), "{refused:?}");
    scratch.ingest_with(scratch.dir.path(), &exclude("/store")).unwrap();
}

#[test]
fn a_repository_elsewhere_is_warned_of() {
    let scratch = scratch();
    let source = scratch.source();
    fill(&source, &["sub/file", "inside/file", ".git/objects/info/alternates"]);
    fs::write(source.join("sub/.git"), "gitdir: /elsewhere/.git/worktrees/sub\n").unwrap();
    fs::write(source.join("inside/.git"), "gitdir: ../.git/modules/inside\n").unwrap();
    let report = scratch.ingest(&source).unwrap();
    let warned: Vec<_> = report.warnings.iter().map(|warning| warning.path.to_string()).collect();
    assert_eq!(warned, [".git/objects/info/alternates", "sub/.git"]);
    assert_eq!(scratch.store.baselines().unwrap()[0].warnings, report.warnings);
}

#[test]
fn a_single_file_or_link_is_stored_as_what_it_is() {
    let scratch = scratch();
    let source = scratch.source();
    fs::write(source.join("file"), b"content").unwrap();
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    let single = |name: &str| {
        scratch.store.ingest_single(&source.join(name), &IngestOptions::default(), &())
    };
    let file = single("file").unwrap();
    match file.node {
        Node::File { size: 7, content, .. } => {
            assert_eq!(content, FileId::of(b"content"));
            assert!(scratch.store.has_file(content, 7).unwrap());
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(single("link").unwrap().node, Node::Symlink { .. }));
    assert!(matches!(single("none"), Err(Error::Io { .. })));
}

#[test]
fn an_unrecorded_ingest_writes_no_record() {
    let scratch = scratch();
    let source = scratch.source();
    fill(&source, &["f"]);
    let options = IngestOptions { unrecorded: true, ..IngestOptions::default() };
    let report = scratch.ingest_with(&source, &options).unwrap();
    assert!(scratch.store.baselines().unwrap().is_empty());
    scratch.store.get_root(report.root).unwrap();
}

const CHILD: &str = "PYRO_STORE_TEST_UNREADABLE";

/// Root may read everything: the test proper runs as another user, in a child process.
#[test]
fn what_the_caller_cannot_read_is_an_error_naming_it_or_skipped() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return as_somebody(Path::new(&dir));
    }
    let scratch = scratch();
    let dir = scratch.path("somebody");
    fill(&dir.join("source"), &["closed-dir/x", "closed-file", "open"]);
    if !rustix::process::geteuid().is_root() {
        return as_somebody(&dir);
    }
    for path in ["", "source", "source/closed-dir", "source/closed-file"] {
        chown(dir.join(path), Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(scratch.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test program may lie where others cannot go.
    let program = scratch.path("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let name = "walking::what_the_caller_cannot_read_is_an_error_naming_it_or_skipped";
    let output = Command::new(program)
        .args(["--exact", name])
        .env(CHILD, &dir)
        .env("TMPDIR", &dir)
        .current_dir(&dir)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn as_somebody(dir: &Path) {
    let source = dir.join("source");
    let close = |name: &str, mode| {
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let store = Store::open(&dir.join("store"), options()).unwrap();
    let ingest = |skip_unreadable| {
        let options = IngestOptions { skip_unreadable, ..IngestOptions::default() };
        store.ingest(&IngestSource::Directory(source.clone()), &options, &())
    };
    for name in ["closed-dir", "closed-file"] {
        let mode = source.join(name).metadata().unwrap().permissions().mode();
        close(name, 0);
        let message = ingest(false).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
        let report = ingest(true).unwrap();
        assert_eq!(report.skipped.len(), 1);
        assert_eq!(report.skipped[0].path.to_string(), name);
        assert_eq!(report.skipped[0].reason, SkipReason::Unreadable);
        close(name, mode);
    }
    // A read-only directory and file go out and come back like any other, for any user.
    close("closed-file", 0o400);
    close("closed-dir", 0o500);
    let report = ingest(false).unwrap();
    let dest = dir.join("copy");
    let checkout = |force| {
        let options = pyro_store::CheckoutOptions { force, durable: false };
        store.checkout_baseline(report.baseline, &TreePath::root(), &dest, &options, &())
    };
    checkout(false).unwrap();
    // Also when they are what is replaced and removed.
    checkout(true).unwrap();
    assert_eq!(crate::support::look(&dest), crate::support::look(&source));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 3);
}
