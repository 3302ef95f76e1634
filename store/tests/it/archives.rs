use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use pyro_format::{Mtime, TreePath};
use pyro_store::{ArchiveLimits, Error, IngestOptions, SkipReason};
use tar::{EntryType, Header};

use crate::support::{Scratch, look, noise, scratch};

/// A tar file of which every header says what the test wants, however hostile.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn member(mut self, kind: EntryType, name: &[u8], link: &[u8], data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name);
        raw.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_mtime(1_000_000);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.member(EntryType::Regular, name.as_bytes(), b"", data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn write(scratch: &Scratch, name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch.path(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn refusal(scratch: &Scratch, bytes: &[u8]) -> String {
    let path = write(scratch, "hostile.tar", bytes);
    match scratch.ingest(&path) {
        Ok(report) => panic!("accepted: {report:?}"),
        Err(error @ (Error::Member { .. } | Error::Archive { .. })) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn hostile_members_are_refused_by_name_and_leave_no_baseline() {
    let scratch = scratch();
    let dir = |tar: Tar, name: &str| tar.member(EntryType::Directory, name.as_bytes(), b"", b"");
    let link = |name: &str, to: &str| {
        Tar::default().member(EntryType::Symlink, name.as_bytes(), to.as_bytes(), b"")
    };
    let hard = |name: &str, to: &str| {
        Tar::default().member(EntryType::Link, name.as_bytes(), to.as_bytes(), b"")
    };
    let table = [
        (Tar::default().file("../evil", b"x"), "'../evil' has a name with '..'"),
        (Tar::default().file("a/../../evil", b"x"), "'a/../../evil' has a name with '..'"),
        (Tar::default().file("/etc/passwd", b"x"), "'/etc/passwd' has an absolute name"),
        (
            link("l", "/etc").file("l/passwd", b"x"),
            "'l/passwd' lies below another member that is a link",
        ),
        (
            Tar::default().file("f", b"x").file("f/g", b"x"),
            "'f/g' lies below another member that is a file",
        ),
        (
            hard("h", "/etc/shadow"),
            "'h' is a hard link to '/etc/shadow', which has an absolute name",
        ),
        (hard("h", "../x"), "'h' is a hard link to '../x', which has a name with '..'"),
        (
            hard("h", "later").file("later", b"x"),
            "'h' is a hard link to 'later', which is no regular file before it",
        ),
        (
            dir(Tar::default(), "d/").file("d", b"x"),
            "'d' would replace a directory by something else",
        ),
        (
            dir(Tar::default().file("d", b"x"), "d/"),
            "'d/' would replace something else by a directory",
        ),
        (link("l", ""), "'l' is a link without a target"),
        (Tar::default().file(".", b"x"), "'.' has no name"),
    ];
    for (tar, reason) in table {
        let message = refusal(&scratch, &tar.end());
        assert!(message.ends_with(reason), "{message}\n{reason}");
    }
    assert!(scratch.store.baselines().unwrap().is_empty());
}

#[test]
fn truncated_and_corrupt_archives_are_refused() {
    let scratch = scratch();
    let tar = Tar::default().file("a", &noise(1, 3000)).file("b", &noise(2, 100_000)).end();
    for len in [0, 100, 512, 600, 3584, 4096, 4600, 50_000, tar.len() - 1024] {
        let message = refusal(&scratch, &tar[..len]);
        assert!(message.contains("truncated") || message.contains("cannot be read"), "{message}");
    }
    let packed = gzip(&tar);
    for len in [3, 20, packed.len() / 2, packed.len() - 4] {
        refusal(&scratch, &packed[..len]);
    }
    let mut corrupt = packed.clone();
    let at = corrupt.len() - 6;
    corrupt[at] ^= 1;
    refusal(&scratch, &corrupt);
    let mut corrupt = tar.clone();
    corrupt[3] ^= 1;
    refusal(&scratch, &corrupt);
    assert!(scratch.store.baselines().unwrap().is_empty());
}

#[test]
fn bombs_end_at_the_limits() {
    let scratch = scratch();
    let limits = ArchiveLimits { members: 10, bytes: 1 << 20 };
    let options = IngestOptions { limits, ..IngestOptions::default() };
    let many = (0..11).fold(Tar::default(), |tar, at| tar.file(&format!("f{at}"), b"x")).end();
    let large = gzip(&Tar::default().file("zeroes", &vec![0; 2 << 20]).end());
    // A long name of many megabytes, which a decoder would keep in memory.
    let name = Tar::default()
        .member(EntryType::GNULongName, b"././@LongLink", b"", &vec![b'x'; 8 << 20])
        .file("x", b"x")
        .end();
    // Nothing but zeroes behind the end.
    let tail = gzip(&[Tar::default().file("f", b"x").end(), vec![0; 80 << 20]].concat());
    for (bytes, reason) in [
        (many, "more than 10 members"),
        (large, "its files hold more than 1048576 bytes"),
        (name, "the headers of one member are too large"),
        (tail, "it unpacks to more than allowed"),
    ] {
        let path = write(&scratch, "bomb.tar", &bytes);
        let message = scratch.ingest_with(&path, &options).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn later_members_win_and_odd_ones_are_skipped() {
    let scratch = scratch();
    let tar = Tar::default()
        .member(EntryType::Directory, b"./", b"", b"")
        .file("./a//f", b"first")
        .member(EntryType::Link, b"hard", b"a/f", b"")
        .file("a/f", b"second")
        .member(EntryType::Symlink, b"out", b"../../../etc", b"")
        .member(EntryType::Fifo, b"pipe", b"", b"")
        .member(EntryType::Char, b"tty", b"", b"")
        .end();
    let path = write(&scratch, "odd.tar", &tar);
    let report = scratch.ingest(&path).unwrap();
    let copy = scratch.check_out(&report, "copy");
    assert_eq!(fs::read(copy.join("a/f")).unwrap(), b"second");
    assert_eq!(fs::read(copy.join("hard")).unwrap(), b"first");
    assert_eq!(fs::read_link(copy.join("out")).unwrap(), Path::new("../../../etc"));
    let skipped: Vec<_> = report.skipped.iter().map(|s| (s.path.to_string(), s.reason)).collect();
    let expected = [("pipe", SkipReason::Fifo), ("tty", SkipReason::CharDevice)];
    assert_eq!(skipped, expected.map(|(path, reason)| (path.to_owned(), reason)));
    assert_eq!((report.entry_count, report.file_count, report.bytes_total), (4, 2, 11));
    let listed = scratch.store.ls(report.baseline, &TreePath::root()).unwrap();
    let hard = listed.iter().find(|listed| listed.name.as_bytes() == b"hard").unwrap();
    assert_eq!(hard.item.times.unwrap().mtime, Mtime { secs: 1_000_000, nanos: 0 });
}

#[test]
fn what_tar_packs_in_any_format_is_the_same_tree_as_the_directory() {
    let scratch = scratch();
    let source = scratch.source();
    let long = source.join("n".repeat(200)).join("m".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), noise(5, 200_000)).unwrap();
    fs::write(source.join("new\nline"), b"").unwrap();
    fs::hard_link(source.join("new\nline"), source.join("same")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), source.join("link")).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    let of_dir = scratch.ingest(&source).unwrap();
    for (format, name) in [("gnu", "a.tar"), ("posix", "b.tar.gz"), ("gnu", "c.tgz")] {
        let path = scratch.path(name);
        let status = Command::new("tar")
            .args(["--sparse", "--auto-compress", "--format", format, "-cf"])
            .arg(&path)
            .arg("-C")
            .arg(&source)
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        let of_tar = scratch.ingest(&path).unwrap();
        assert_eq!(of_tar.root, of_dir.root, "{name}");
        if format == "posix" {
            assert_eq!(of_tar.baseline, of_dir.baseline, "pax keeps nanoseconds");
            assert_eq!(look(&scratch.check_out(&of_tar, "copy")), look(&source));
        }
    }
}

#[test]
fn other_files_are_no_source() {
    let scratch = scratch();
    let path = write(&scratch, "notes.txt", b"x");
    assert!(matches!(scratch.ingest(&path), Err(Error::Source { .. })));
    assert!(matches!(scratch.ingest(&scratch.path("missing")), Err(Error::Io { .. })));
    let path = write(&scratch, "fake.tar.gz", b"not compressed at all");
    assert!(matches!(scratch.ingest(&path), Err(Error::Archive { .. })));
}
