//! What a pack holds: typed, hashed byte strings.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

use pyro_format::{ChunkId, ChunkList, FileId, RootId, TimesId, TreeId};
use serde::{Deserialize, Serialize};

/// What an object is. The numbers are part of the pack format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// A piece of a file.
    Chunk = 1,
    /// The chunks of a file, under the file's id.
    ChunkList = 2,
    /// A directory node.
    Tree = 3,
    /// A node of modification times.
    Times = 4,
    /// A root node.
    Root = 5,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [Kind::Chunk, Kind::ChunkList, Kind::Tree, Kind::Times, Kind::Root];

    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Chunk => "chunk",
            Kind::ChunkList => "chunk list of file",
            Kind::Tree => "tree",
            Kind::Times => "times",
            Kind::Root => "root",
        })
    }
}

/// Names one object in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// The bytes of its id.
    pub id: [u8; 32],
}

impl ObjectKey {
    pub(crate) fn new(kind: Kind, id: [u8; 32]) -> Self {
        Self { kind, id }
    }

    /// Whether `bytes` are this object's. A chunk list carries a digest of its own, because its
    /// key is the hash of the file and not of the list.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        match self.kind {
            Kind::ChunkList => {
                ChunkList::decode(bytes).is_ok_and(|list| *list.file.as_bytes() == self.id)
            }
            _ => *blake3::hash(bytes).as_bytes() == self.id,
        }
    }

    /// First four bytes of the id: what the index keeps in memory.
    pub(crate) fn prefix(&self) -> u32 {
        u32::from_le_bytes([self.id[0], self.id[1], self.id[2], self.id[3]])
    }
}

/// The id is a hash already: eight bytes of it are as good as all for finding a place in a map.
impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.id;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, FileId::from_bytes(self.id))
    }
}

macro_rules! key_of {
    ($($id:ident => $kind:ident),*) => {
        $(impl From<$id> for ObjectKey {
            fn from(id: $id) -> Self {
                Self::new(Kind::$kind, *id.as_bytes())
            }
        })*
    };
}

key_of!(ChunkId => Chunk, FileId => ChunkList, TreeId => Tree, TimesId => Times, RootId => Root);

/// The verified bytes of one object: a slice of a shared, decompressed frame.
#[derive(Debug, Clone)]
pub struct ObjectBytes {
    frame: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl ObjectBytes {
    /// None if the range is not inside the frame.
    pub(crate) fn new(frame: Arc<Vec<u8>>, range: Range<usize>) -> Option<Self> {
        frame.get(range.clone())?;
        Some(Self { frame, range })
    }
}

impl Deref for ObjectBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.frame[self.range.clone()]
    }
}
