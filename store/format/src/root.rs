//! The top of a tree, and of a baseline.

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Header, Reader};
use crate::id::{BaselineId, RootId, TimesId, TreeId};
use crate::times::Mtime;
use crate::tree::Mode;

const HEADER: Header = *b"PR\x01";

/// A whole tree: the top directory's mode and its node. Its id is the `tree` that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootNode {
    /// Permission bits of the top directory.
    pub mode: Mode,
    /// The top directory's entries.
    pub tree: TreeId,
}

impl RootNode {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        out.extend_from_slice(&self.mode.bits().to_le_bytes());
        out.extend_from_slice(self.tree.as_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("root", HEADER, bytes)?;
        let mode = Mode::decode(&mut reader)?;
        let tree = TreeId::from_bytes(reader.array()?);
        reader.finish()?;
        Ok(Self { mode, tree })
    }

    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> RootId {
        RootId::of(&self.encode())
    }
}

/// What names a baseline: a root and the times its files had. Equal directories with equal times
/// are one baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineKey {
    /// The content.
    pub root: RootId,
    /// The modification times below the top directory.
    pub times: TimesId,
    /// The top directory's own modification time.
    pub mtime: Mtime,
}

impl BaselineKey {
    /// BLAKE3 of the canonical bytes of all three.
    pub fn id(&self) -> BaselineId {
        let mut bytes = b"PB\x01".to_vec();
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend_from_slice(self.times.as_bytes());
        self.mtime.encode(&mut bytes);
        BaselineId::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_the_top_directory_is_identity() {
        let root = |mode| RootNode { mode: Mode::new(mode), tree: TreeId::of(b"") };
        assert_ne!(root(0o755).id(), root(0o700).id());
        assert_eq!(RootNode::decode(&root(0o755).encode()), Ok(root(0o755)));
        assert!(RootNode::decode(&root(0o755).encode()[1..]).is_err());
    }
}
