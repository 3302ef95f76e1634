//! What pyro stores and sends, as pure values: no I/O, no clock, no host paths.
//!
//! ```text
//! file bytes ──cut──▶ chunks ──▶ ChunkList      (FileId = BLAKE3 of the whole file)
//! directory  ──────▶ Tree  (names, kinds, modes, sizes, FileIds, child TreeIds)
//!            ──────▶ TimesNode (mtimes beside it: not identity)
//! top        ──────▶ RootNode (mode + TreeId) ──▶ RootId, the id a person sees
//! two roots  ──diff──▶ changes, reading only the nodes that differ
//! ```
//!
//! Every node has one canonical encoding: equal values have equal bytes and so equal ids.
//! Decoders accept nothing else and never panic, whoever sent the bytes.

mod chunker;
mod chunks;
mod codec;
mod diff;
mod id;
mod name;
mod path;
mod root;
mod rootfs;
mod times;
mod tree;

pub use chunker::{MAX_CHUNK, MIN_CHUNK, SMALL_FILE, cut};
pub use chunks::{ChunkList, ChunkRef};
pub use codec::DecodeError;
pub use diff::{Delta, TreeSource, diff};
pub use id::{BaselineId, ChunkId, FileId, ParseIdError, RootId, TimesId, TreeId};
pub use name::{EntryName, LinkTarget, MAX_NAME, MAX_TARGET, NameError};
pub use path::{MAX_DEPTH, PathError, TreePath, escape};
pub use root::{BaselineKey, RootNode};
pub use rootfs::{
    Attributes, AttributesError, Device, DeviceKind, MAX_XATTR_NAME, MAX_XATTR_VALUE,
};
pub use times::{Mtime, TimesEntry, TimesNode};
pub use tree::{Entry, Extension, Mode, Node, Tree, TreeError};
