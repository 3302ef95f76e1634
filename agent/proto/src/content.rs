//! How a guest reads trees and content: by path below a root that the host chose, never by hash,
//! so that knowing a hash gives nothing. Requests carry no state: any daemon can answer them.

use pyro_format::TreePath;
use serde::{Deserialize, Serialize};

use crate::call::PushId;

/// Which tree a path is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The lower tree of `/workspace`.
    Lower,
    /// The tree of a push that is under way.
    Push(PushId),
}

/// One request. Answers carry its tag and may come in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Chosen by the guest; unique among its unanswered requests on this connection.
    pub tag: u64,
    /// Which tree.
    pub source: Source,
    /// What of it.
    pub body: FetchBody,
}

/// What a guest can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchBody {
    /// The nodes of these directories.
    Nodes {
        /// At most 1,024 paths.
        paths: Vec<TreePath>,
    },
    /// Bytes of one file.
    Range {
        /// The file.
        path: TreePath,
        /// First byte.
        offset: u64,
        /// Bytes wanted, at most [`crate::MAX_DATA`].
        len: u32,
    },
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The request's tag.
    pub tag: u64,
    /// The answer.
    pub body: FetchedBody,
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchedBody {
    /// The requested nodes in order; behind them, nodes read ahead (directories below the
    /// requested ones), as many as fit the host's budget.
    Nodes(Vec<NodeBytes>),
    /// The bytes; fewer than asked for only at the end of the file.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The request cannot be served: a Linux errno (2 no such path, 5 damaged content, ...).
    Error(i32),
}

/// A directory node and its times, canonically encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBytes {
    /// Which directory.
    pub path: TreePath,
    /// [`pyro_format::Tree`].
    #[serde(with = "serde_bytes")]
    pub tree: Vec<u8>,
    /// [`pyro_format::TimesNode`], entry for entry.
    #[serde(with = "serde_bytes")]
    pub times: Vec<u8>,
}
