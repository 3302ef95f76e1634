//! Images: layers above each other, with owners, devices, hard links and marks of what is hidden.

use std::io::Cursor;
use std::path::Path;

use pyro_format::{Attributes, DeviceKind, Entry, Node};
use pyro_store::{ArchiveLimits, Error, IngestReport, Store};
use tar::{Builder, EntryType, Header};

use crate::support::scratch;

/// A member of a layer: its name, kind, mode, what is in it or where it points.
struct Member(&'static str, EntryType, u32, &'static str);

fn dir(name: &'static str) -> Member {
    Member(name, EntryType::Directory, 0o755, "")
}

fn file(name: &'static str, content: &'static str) -> Member {
    Member(name, EntryType::Regular, 0o644, content)
}

fn link(name: &'static str, target: &'static str) -> Member {
    Member(name, EntryType::Link, 0o644, target)
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header
}

/// Names are written as they are, however bad: the builder's own checks are not wanted.
fn layer(members: &[Member]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for Member(name, kind, mode, text) in members {
        let mut header = header(*kind, *mode);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        let mut content = *text;
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            header.as_ustar_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
            content = "";
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn ingest(store: &Store, layers: &[Vec<u8>]) -> Result<IngestReport, Error> {
    let mut image = store.ingest_image(ArchiveLimits::default())?;
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("layer {number}");
        image.layer(Path::new(&name), Box::new(Cursor::new(layer.clone())), &())?;
    }
    image.finish(Path::new("an image"))
}

/// Every path with its entry, in the order of the tree.
fn entries(store: &Store, report: &IngestReport) -> Vec<(String, Entry)> {
    let root = store.get_root(report.root).unwrap();
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), root.tree)];
    while let Some((above, tree)) = pending.pop() {
        for entry in store.get_tree(tree).unwrap().entries() {
            let name = String::from_utf8_lossy(entry.name.as_bytes()).into_owned();
            let path = format!("{above}{name}");
            if let Node::Dir { tree, .. } = entry.node {
                pending.push((format!("{path}/"), tree));
            }
            found.push((path, entry.clone()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn paths(store: &Store, report: &IngestReport) -> Vec<String> {
    entries(store, report).into_iter().map(|(path, _)| path).collect()
}

fn attributes(store: &Store, report: &IngestReport, path: &str) -> Attributes {
    let found = entries(store, report).into_iter().find(|(name, _)| name == path);
    Attributes::from_extensions(&found.expect(path).1.extensions).unwrap()
}

#[test]
fn upper_layers_replace_and_hide_what_lower_ones_have() {
    let scratch = scratch();
    let store = &scratch.store;
    let base = layer(&[
        dir("etc/"),
        file("etc/kept", "1"),
        file("etc/gone", "1"),
        dir("opt/"),
        dir("opt/old/"),
        file("opt/old/file", "1"),
        file("opt/plain", "1"),
        dir("was-dir/"),
        file("was-dir/file", "1"),
        file("was-file", "1"),
    ]);
    let upper = layer(&[
        file("etc/.wh.gone", ""),
        // What the same layer brings stays, whichever comes first.
        file("opt/new", "2"),
        file("opt/.wh..wh..opq", ""),
        file("opt/newer", "2"),
        file("was-dir", "2"),
        dir("was-file/"),
        file("was-file/file", "2"),
        file(".wh..wh.plnk", ""),
        file(".wh.never-was", ""),
    ]);
    let report = ingest(store, &[base.clone(), upper]).unwrap();
    let expected =
        ["etc", "etc/kept", "opt", "opt/new", "opt/newer", "was-dir", "was-file", "was-file/file"];
    assert_eq!(paths(store, &report), expected);
    assert_eq!(report.entry_count, expected.len() as u64);

    // What is hidden and made again in one layer is what is made.
    let again = layer(&[
        file("etc/.wh.kept", ""),
        file("etc/kept", "3"),
        dir("opt/old/"),
        file("opt/.wh.old", ""),
    ]);
    let report = ingest(store, &[base.clone(), again]).unwrap();
    assert!(paths(store, &report).contains(&"etc/kept".to_owned()));
    assert!(paths(store, &report).contains(&"opt/old".to_owned()));
    assert!(!paths(store, &report).contains(&"opt/old/file".to_owned()));

    // Layers that change nothing leave the tree as it is, and the store too.
    let one = ingest(store, std::slice::from_ref(&base)).unwrap();
    let two = ingest(store, &[base.clone(), layer(&[dir("etc/")])]).unwrap();
    assert_eq!(one.root, two.root);
    assert_eq!((two.bytes_new, two.chunks_new), (0, 0));
}

#[test]
fn owners_devices_special_bits_and_attributes_are_kept() {
    let scratch = scratch();
    let store = &scratch.store;
    let mut tar = Builder::new(Vec::new());
    let mut su = header(EntryType::Regular, 0o4755);
    su.set_path("su").unwrap();
    su.set_size(2);
    su.set_gid(42);
    su.set_cksum();
    let records =
        [("SCHILY.xattr.user.note", &b"\0\xff"[..]), ("uid", b"3000000000"), ("mtime", b"12.5")];
    tar.append_pax_extensions(records).unwrap();
    tar.append(&su, &b"su"[..]).unwrap();
    let mut null = header(EntryType::Char, 0o666);
    null.set_path("null").unwrap();
    null.set_size(0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    null.set_cksum();
    tar.append(&null, &b""[..]).unwrap();
    let report = ingest(store, &[tar.into_inner().unwrap()]).unwrap();

    let su = attributes(store, &report, "su");
    assert_eq!((su.uid, su.gid, su.special_bits), (3_000_000_000, 42, 4));
    assert_eq!(su.xattrs.into_iter().collect::<Vec<_>>(), [(b"user.note".to_vec(), vec![0, 255])]);
    let null = attributes(store, &report, "null").device.unwrap();
    assert_eq!((null.kind, null.major, null.minor), (DeviceKind::Char, 1, 3));
    assert!(store.verify(&()).unwrap().is_clean());
}

#[test]
fn hard_links_are_groups_numbered_by_the_tree_and_not_by_the_layers() {
    let scratch = scratch();
    let store = &scratch.store;
    let group = |report: &IngestReport, path| attributes(store, report, path).link_group;
    let plain =
        layer(&[file("z", "z"), link("b", "z"), file("y", "y"), link("a", "y"), link("c", "./y")]);
    let report = ingest(store, &[plain]).unwrap();
    assert_eq!(
        ["a", "b", "c", "y", "z"].map(|name| group(&report, name)),
        [1, 2, 1, 1, 2].map(Some)
    );

    // The same in another order, and with detours, is the same tree.
    let base = layer(&[file("y", "y"), link("a", "y"), file("q", "z"), link("b", "q")]);
    let upper = layer(&[link("c", "a"), link("z", "b"), file(".wh.q", "")]);
    assert_eq!(ingest(store, &[base, upper]).unwrap().root, report.root);

    // A name that is replaced, or the only one that is left, is a file of its own.
    let base = layer(&[file("x", "1"), link("y", "x")]);
    let report = ingest(store, &[base, layer(&[file("x", "2")])]).unwrap();
    assert_eq!(["x", "y"].map(|name| group(&report, name)), [None, None]);
}

#[test]
fn hostile_layers_are_refused_and_named() {
    let scratch = scratch();
    let store = &scratch.store;
    let refused = |members: &[Member], why: &str| {
        let error = ingest(store, &[layer(members)]).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("layer 0"), "{error}");
    };
    refused(&[file("../up", "")], "..");
    refused(&[file("/etc/passwd", "")], "absolute");
    refused(&[file("a/../../b", "")], "..");
    refused(&[link("a", "../../etc/passwd")], "..");
    refused(&[link("a", "nowhere")], "no file before it");
    refused(&[dir("d/"), link("a", "d")], "no file before it");
    refused(&[Member("l", EntryType::Symlink, 0o777, "/etc"), file("l/passwd", "")], "a link");
    refused(&[file(".wh...", "")], "bad name");
    refused(&[Member("s", EntryType::new(b'Z'), 0o644, "")], "kind");
    assert_eq!(store.baseline_ids().unwrap(), []);

    let limits = ArchiveLimits { members: 10, bytes: 1000 };
    let mut image = store.ingest_image(limits).unwrap();
    let large =
        layer(&[Member("large", EntryType::Regular, 0o644, Box::leak("x".repeat(600).into()))]);
    let mut add =
        |name: &str| image.layer(Path::new(name), Box::new(Cursor::new(large.clone())), &());
    add("first").unwrap();
    let error = add("second").unwrap_err().to_string();
    assert!(error.contains("second") && error.contains("1000 bytes"), "{error}");
}
