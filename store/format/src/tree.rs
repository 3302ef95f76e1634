//! A directory node: what a directory holds, less the bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::{DecodeError, Header, Reader, put_bytes, put_len};
use crate::id::{FileId, TreeId};
use crate::name::{EntryName, LinkTarget};

const HEADER: Header = *b"PT\x01";

/// Permission bits, `0o000` to `0o777`. Setuid, setgid and sticky are no part of a workspace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct Mode(u16);

impl Mode {
    /// The permission bits of a `st_mode`; all other bits are dropped.
    pub const fn new(st_mode: u16) -> Self {
        Self(st_mode & 0o777)
    }

    /// The bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bits = reader.u16()?;
        if bits > 0o777 { Err(reader.error("mode out of range")) } else { Ok(Self(bits)) }
    }
}

impl From<u16> for Mode {
    fn from(st_mode: u16) -> Self {
        Self::new(st_mode)
    }
}

impl From<Mode> for u16 {
    fn from(mode: Mode) -> Self {
        mode.0
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0o{:03o}", self.0)
    }
}

/// What one entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Node {
    /// A regular file.
    File {
        /// Permission bits.
        mode: Mode,
        /// Length in bytes.
        size: u64,
        /// Hash of the content.
        content: FileId,
    },
    /// A directory.
    Dir {
        /// Permission bits.
        mode: Mode,
        /// Its entries.
        tree: TreeId,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: LinkTarget,
    },
}

/// A further property of an entry that is part of its identity (owner, xattrs, device number, ...).
/// The workspace profile uses none; the tags are assigned in `docs/store-format.md`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extension {
    /// Which property.
    pub tag: u16,
    /// Its value, opaque here.
    pub value: Vec<u8>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// What it is.
    pub node: Node,
    /// Further properties, sorted by tag, each tag once.
    pub extensions: Vec<Extension>,
}

impl Entry {
    /// An entry without extensions, as workspaces have them.
    pub fn new(name: EntryName, node: Node) -> Self {
        Self { name, node, extensions: Vec::new() }
    }
}

/// Two entries of one directory have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("two entries are called '{0}'")]
pub struct TreeError(pub EntryName);

/// One directory: its entries sorted by the bytes of their names, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Sorts `entries`.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, TreeError> {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        match entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(TreeError(pair[0].name.clone())),
            None => Ok(Self { entries }),
        }
    }

    /// The entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Position of the entry called `name`.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name)).ok()
    }

    /// The entry called `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.position(name).map(|at| &self.entries[at])
    }

    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.entries.len() * 64);
        out.extend_from_slice(&HEADER);
        put_len(&mut out, self.entries.len() as u64);
        for entry in &self.entries {
            encode_entry(&mut out, entry);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("tree node", HEADER, bytes)?;
        let count = reader.count(MIN_ENTRY)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = decode_entry(&mut reader)?;
            if entries.last().is_some_and(|last| last.name >= entry.name) {
                return Err(reader.error("entries out of order"));
            }
            entries.push(entry);
        }
        reader.finish()?;
        Ok(Self { entries })
    }

    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> TreeId {
        TreeId::of(&self.encode())
    }
}

const FILE: u8 = 1;
const DIR: u8 = 2;
const SYMLINK: u8 = 3;

/// Bytes of the shortest entry: tag, one-letter name, one-byte target, no extensions.
const MIN_ENTRY: usize = 1 + 2 + 2 + 1;

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    let tag = match &entry.node {
        Node::File { .. } => FILE,
        Node::Dir { .. } => DIR,
        Node::Symlink { .. } => SYMLINK,
    };
    out.push(tag);
    put_bytes(out, entry.name.as_bytes());
    match &entry.node {
        Node::File { mode, size, content } => {
            out.extend_from_slice(&mode.bits().to_le_bytes());
            put_len(out, *size);
            out.extend_from_slice(content.as_bytes());
        }
        Node::Dir { mode, tree } => {
            out.extend_from_slice(&mode.bits().to_le_bytes());
            out.extend_from_slice(tree.as_bytes());
        }
        Node::Symlink { target } => put_bytes(out, target.as_bytes()),
    }
    put_len(out, entry.extensions.len() as u64);
    for extension in &entry.extensions {
        out.extend_from_slice(&extension.tag.to_le_bytes());
        put_bytes(out, &extension.value);
    }
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let tag = reader.u8()?;
    let name = EntryName::parse(reader.bytes()?).map_err(|_| reader.error("forbidden name"))?;
    let node = match tag {
        FILE => Node::File {
            mode: Mode::decode(reader)?,
            size: reader.len()?,
            content: FileId::from_bytes(reader.array()?),
        },
        DIR => Node::Dir { mode: Mode::decode(reader)?, tree: TreeId::from_bytes(reader.array()?) },
        SYMLINK => Node::Symlink {
            target: LinkTarget::parse(reader.bytes()?)
                .map_err(|_| reader.error("forbidden link target"))?,
        },
        _ => return Err(reader.error("unknown kind of entry")),
    };
    let count = reader.count(3)?;
    let mut extensions: Vec<Extension> = Vec::with_capacity(count);
    for _ in 0..count {
        let extension = Extension { tag: reader.u16()?, value: reader.bytes()?.to_vec() };
        if extensions.last().is_some_and(|last| last.tag >= extension.tag) {
            return Err(reader.error("extensions out of order"));
        }
        extensions.push(extension);
    }
    Ok(Entry { name, node, extensions })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let mode = (0u16..=0o777).prop_map(Mode::new);
        let node = prop_oneof![
            (mode.clone(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(mode, size, id)| {
                Node::File { mode, size, content: FileId::from_bytes(id) }
            }),
            (mode, any::<[u8; 32]>())
                .prop_map(|(mode, id)| Node::Dir { mode, tree: TreeId::from_bytes(id) }),
            prop::collection::vec(1u8.., 1..40)
                .prop_map(|t| Node::Symlink { target: LinkTarget::parse(&t).unwrap() }),
        ];
        let name = prop::collection::vec(any::<u8>(), 1..12)
            .prop_filter_map("a name", |bytes| EntryName::parse(&bytes).ok());
        let extensions = prop::collection::btree_map(any::<u16>(), any::<Vec<u8>>(), 0..3);
        (name, node, extensions).prop_map(|(name, node, extensions)| Entry {
            name,
            node,
            extensions: extensions
                .into_iter()
                .map(|(tag, value)| Extension { tag, value })
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn any_tree_round_trips(entries in prop::collection::vec(entry(), 0..20)) {
            if let Ok(tree) = Tree::new(entries) {
                prop_assert_eq!(Tree::decode(&tree.encode()), Ok(tree));
            }
        }

        #[test]
        fn whatever_decodes_is_canonical(
            entries in prop::collection::vec(entry(), 0..4),
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            if let Ok(tree) = Tree::new(entries) {
                let mut bytes = tree.encode();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut.index(bytes.len()) + 1);
                if let Ok(tree) = Tree::decode(&bytes) {
                    prop_assert_eq!(tree.encode(), bytes);
                }
            }
        }

        #[test]
        fn noise_never_panics(bytes: Vec<u8>) {
            let mut framed = HEADER.to_vec();
            framed.extend(bytes);
            let _ = Tree::decode(&framed);
        }
    }

    #[test]
    fn one_name_stands_once() {
        let entry = |name: &[u8]| {
            let target = LinkTarget::parse(b"x").unwrap();
            Entry::new(EntryName::parse(name).unwrap(), Node::Symlink { target })
        };
        assert!(Tree::new(vec![entry(b"a"), entry(b"a")]).is_err());
        assert!(Tree::new(vec![entry(b"b"), entry(b"a")]).unwrap().get(b"a").is_some());
    }
}
