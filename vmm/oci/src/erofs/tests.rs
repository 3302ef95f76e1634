//! What is written is what `fsck.erofs` reads, byte for byte, owner for owner.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use pyro_store::{ArchiveLimits, IngestReport, StoreOptions};
use tar::{Builder, EntryType, Header};

use super::*;

struct Image {
    store: Store,
    dir: tempfile::TempDir,
    tar: Builder<Vec<u8>>,
}

impl Image {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        Self { store, dir, tar: Builder::new(Vec::new()) }
    }

    fn member(&mut self, kind: EntryType, path: &str, content: &[u8], more: impl Fn(&mut Header)) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        more(&mut header);
        self.tar.append_data(&mut header, path, content).unwrap();
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.member(EntryType::Regular, path, content, |_| {});
    }

    fn ingest(&mut self) -> IngestReport {
        let tar = std::mem::replace(&mut self.tar, Builder::new(Vec::new()));
        let mut image = self.store.ingest_image(ArchiveLimits::default()).unwrap();
        let layer = Box::new(Cursor::new(tar.into_inner().unwrap()));
        image.layer(Path::new("a layer"), layer, &()).unwrap();
        image.finish(Path::new("an image")).unwrap()
    }

    /// Writes the image, has it checked, and unpacks it.
    fn unpacked(&mut self) -> std::path::PathBuf {
        let report = self.ingest();
        let (path, out) = (self.dir.path().join("root.erofs"), self.dir.path().join("out"));
        write(&self.store, &report.key, &path, &()).unwrap();
        let extract = format!("--extract={}", out.display());
        let checked =
            Command::new("fsck.erofs").arg(extract).arg("--overwrite").arg(&path).output();
        let checked = checked.expect("fsck.erofs, of erofs-utils, is installed");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        out
    }
}

#[test]
fn contents_of_any_length_come_back() {
    let mut image = Image::new();
    let lens = [0, 1, 31, 32, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 70_000, 3_000_001];
    let content = |len: usize| (0..len).map(|at| (at * 7 + at / 251) as u8).collect::<Vec<_>>();
    for len in lens {
        image.file(&format!("dir/{len}"), &content(len));
    }
    let out = image.unpacked();
    for len in lens {
        assert!(fs::read(out.join(format!("dir/{len}"))).unwrap() == content(len), "{len}");
    }
}

#[test]
fn large_directories_and_odd_names_are_found() {
    let mut image = Image::new();
    // Names before and after `.` and `..`, and directories of many blocks.
    let mut names: Vec<String> =
        (0..3000).map(|n| format!("{n:x}-{}", "n".repeat(n % 90))).collect();
    names.extend(["!", "-", "...", "..x", ".x", "\u{e9}", "z z"].map(str::to_owned));
    names.push("l".repeat(255));
    for name in &names {
        image.file(&format!("many/{name}"), name.as_bytes());
    }
    image.member(EntryType::Directory, "empty/", b"", |_| {});
    let out = image.unpacked();
    for name in &names {
        assert_eq!(fs::read(out.join("many").join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(fs::read_dir(out.join("many")).unwrap().count(), names.len());
    assert_eq!(fs::read_dir(out.join("empty")).unwrap().count(), 0);
}

#[test]
fn owners_links_devices_and_times_come_back() {
    let mut image = Image::new();
    image.member(EntryType::Regular, "su", b"su", |header| {
        header.set_mode(0o4751);
        header.set_uid(12);
        header.set_gid(34);
    });
    image.member(EntryType::Link, "su-too", b"", |header| header.set_link_name("su").unwrap());
    let target = "t/".repeat(45);
    image.member(EntryType::Symlink, "link", b"", |header| header.set_link_name(&target).unwrap());
    image.member(EntryType::Fifo, "pipe", b"", |_| {});
    image.member(EntryType::Char, "null", b"", |header| {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
    });
    image.tar.append_pax_extensions([("SCHILY.xattr.user.k", &b"value"[..])]).unwrap();
    image.file("marked", b"m");
    let out = image.unpacked();
    assert_eq!(fs::read_link(out.join("link")).unwrap().to_str().unwrap(), target);
    let su = out.join("su").metadata().unwrap();
    assert_eq!(su.mtime(), 1_600_000_000);
    assert_eq!(fs::read(out.join("marked")).unwrap(), b"m");
    if rustix::process::geteuid().is_root() {
        assert_eq!((su.mode() & 0o777, su.uid(), su.gid()), (0o751, 12, 34));
        let null = out.join("null").symlink_metadata().unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
        assert!(out.join("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    }
    // One inode under two names, as its own tool sees it.
    let shown = |name: &str| {
        let image = out.parent().unwrap().join("root.erofs");
        let dump = Command::new("dump.erofs").arg(format!("--path=/{name}")).arg(image).output();
        let text = String::from_utf8(dump.unwrap().stdout).unwrap();
        let nid = text.lines().find_map(|line| line.strip_prefix("NID: ").map(str::to_owned));
        (nid.expect(&text), text)
    };
    let (nid, text) = shown("su");
    assert_eq!(nid, shown("su-too").0);
    assert!(text.contains("Links: 2"), "{text}");
    // The tools leave set-id bits out: `i_mode` itself.
    let nid: usize = nid.split_whitespace().next().unwrap().parse().unwrap();
    let bytes = fs::read(out.parent().unwrap().join("root.erofs")).unwrap();
    let mode = u16::from_le_bytes([bytes[nid * 32 + 4], bytes[nid * 32 + 5]]);
    assert_eq!(mode, 0o104_751);
}

#[test]
fn equal_trees_have_equal_images() {
    let mut bytes = Vec::new();
    for name in ["one", "two"] {
        let mut image = Image::new();
        image.file("b", b"2");
        image.file("a", b"1");
        let report = image.ingest();
        let path = image.dir.path().join(name);
        write(&image.store, &report.key, &path, &()).unwrap();
        bytes.push(fs::read(path).unwrap());
    }
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn attributes_that_no_image_can_hold_are_refused() {
    for (name, value) in [("system.else", 1), ("user.long", 65_536)] {
        let xattrs = [(name.as_bytes().to_vec(), vec![0; value])].into();
        assert!(encode::xattrs(&xattrs).unwrap_err().to_string().contains(name));
    }
}
