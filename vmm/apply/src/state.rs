//! What is at a path, of any side.

use pyro_format::{FileId, LinkTarget, Mode, Node};
use serde::{Deserialize, Serialize};

/// What a path holds. A directory is told by its mode alone; what is in it has paths of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Permission bits.
        mode: Mode,
        /// Bytes.
        size: u64,
        /// Hash of the content.
        content: FileId,
    },
    /// A symbolic link.
    Link {
        /// Where it points, verbatim.
        target: LinkTarget,
    },
    /// A directory.
    Dir {
        /// Permission bits.
        mode: Mode,
    },
}

impl State {
    /// What a node of a tree is.
    pub fn of(node: Option<&Node>) -> Self {
        match node {
            None => Self::Absent,
            Some(Node::File { mode, size, content }) => {
                Self::File { mode: *mode, size: *size, content: *content }
            }
            Some(Node::Dir { mode, .. }) => Self::Dir { mode: *mode },
            Some(Node::Symlink { target }) => Self::Link { target: target.clone() },
        }
    }

    /// Whether it is the same but for permissions, which not every file system keeps.
    pub fn holds_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { content: a, .. }, Self::File { content: b, .. }) => a == b,
            (Self::Dir { .. }, Self::Dir { .. }) => true,
            (a, b) => a == b,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }

    /// Whether it is a file or a link.
    pub fn is_leaf(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Link { .. })
    }

    /// Bytes of a file's content, or of a link's target.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Link { target } => target.as_bytes().len() as u64,
            Self::Absent | Self::Dir { .. } => 0,
        }
    }

    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::File { .. } => "a file",
            Self::Link { .. } => "a link",
            Self::Dir { .. } => "a directory",
        }
    }
}
