//! Golden vectors: the bytes and ids of known values. Stored trees are for ever, so these never
//! change; a change of the encoding is a new version beside the old one.

use std::fmt::Write;

use pyro_format::{
    Attributes, BaselineKey, ChunkId, ChunkList, ChunkRef, Device, DeviceKind, Entry, EntryName,
    Extension, FileId, LinkTarget, Mode, Mtime, Node, RootNode, TimesEntry, TimesNode, Tree,
};

fn name(bytes: &[u8]) -> EntryName {
    EntryName::parse(bytes).unwrap()
}

fn sample() -> Tree {
    let file = |text: &[u8], mode| Node::File {
        mode: Mode::new(mode),
        size: text.len() as u64,
        content: FileId::of(text),
    };
    let mut marked = Entry::new(name(b"marked"), file(b"", 0o600));
    marked.extensions = vec![Extension { tag: 7, value: b"x".to_vec() }];
    Tree::new(vec![
        Entry::new(name(b"run.sh"), file(b"#!/bin/sh\n", 0o755)),
        Entry::new(name(b"\xff\n"), file(b"not UTF-8", 0o644)),
        Entry::new(name(b"dir"), Node::Dir { mode: Mode::new(0o700), tree: Tree::default().id() }),
        Entry::new(name(b"link"), Node::Symlink { target: LinkTarget::parse(b"../x").unwrap() }),
        marked,
    ])
    .unwrap()
}

/// A tree of the `rootfs` profile.
fn system() -> Tree {
    let marked = |text: &[u8], mode, attributes: Attributes| {
        let (mode, content) = (Mode::new(mode), FileId::of(b""));
        let node = Node::File { mode, size: 0, content };
        Entry { name: name(text), node, extensions: attributes.to_extensions() }
    };
    let xattrs = [(b"user.a".to_vec(), b"\n".to_vec()), (b"user.b".to_vec(), vec![])];
    let null = Device { kind: DeviceKind::Char, major: 1, minor: 3 };
    Tree::new(vec![
        marked(b"null", 0o666, Attributes { device: Some(null), ..Default::default() }),
        marked(b"su", 0o755, Attributes { special_bits: 4, gid: 5, ..Default::default() }),
        marked(b"one", 0o644, Attributes { link_group: Some(1), ..Default::default() }),
        marked(b"two", 0o644, Attributes { link_group: Some(1), ..Default::default() }),
        marked(b"x", 0o644, Attributes { xattrs: xattrs.into(), ..Default::default() }),
    ])
    .unwrap()
}

fn vectors() -> String {
    let mtime = Mtime { secs: -1, nanos: 5 };
    let times = TimesNode {
        entries: vec![
            TimesEntry { mtime, children: None },
            TimesEntry { mtime, children: Some(TimesNode::default().id()) },
        ],
    };
    let root = RootNode { mode: Mode::new(0o755), tree: sample().id() };
    let chunk = |text: &[u8]| ChunkRef { id: ChunkId::of(text), len: text.len() as u64 };
    let list =
        ChunkList { file: FileId::of(b"onetwo"), chunks: vec![chunk(b"one"), chunk(b"two")] };
    let baseline = BaselineKey { root: root.id(), times: times.id(), mtime };
    let mut out = String::new();
    let mut vector = |what: &str, bytes: &[u8], id: String| {
        write!(out, "{what}\n  bytes ").unwrap();
        bytes.iter().for_each(|byte| write!(out, "{byte:02x}").unwrap());
        writeln!(out, "\n  id    {id}").unwrap();
    };
    vector("empty tree", &Tree::default().encode(), Tree::default().id().to_string());
    vector("tree", &sample().encode(), sample().id().to_string());
    vector("system tree", &system().encode(), system().id().to_string());
    vector("times", &times.encode(), times.id().to_string());
    vector("root", &root.encode(), root.id().to_string());
    vector("chunk list", &list.encode(), list.file.to_string());
    vector("baseline", &[], baseline.id().to_string());
    out
}

#[test]
fn encodings_and_ids_are_those_of_the_golden_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/format/v1.txt");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(path, vectors()).unwrap();
    }
    assert_eq!(vectors(), std::fs::read_to_string(path).unwrap());
}
