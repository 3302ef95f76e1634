//! Baselines in one file, to be moved to another machine.
//!
//! ```text
//! header │ manifest │ pack │ pack │ … │ end │ BLAKE3 of all before
//! ```
//! The manifest holds the baselines' records; the packs hold exactly what those reach. A bundle is
//! checked as a whole before anything of it is in the store: its hash, each pack's footer, each
//! frame's checksum, each object's id, each file's hash, and that every baseline is whole.

mod export;
mod files;
mod import;

use pyro_format::BaselineId;
use serde::{Deserialize, Serialize};

use crate::baseline::BaselineRecord;

/// magic 8 bytes, version u8, 7 zero bytes.
const HEADER: [u8; 16] = *b"PYROBNDL\x01\0\0\0\0\0\0\0";
/// A manifest is read into memory whole.
const MAX_MANIFEST: u64 = 256 << 20;

/// What a bundle holds.
#[derive(Serialize, Deserialize)]
struct Manifest {
    /// Version of its shape: 1.
    schema: u32,
    baselines: Vec<BaselineRecord>,
}

/// What was written to a bundle, or taken from one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleReport {
    /// Version of this report's shape: 1.
    pub schema: u32,
    /// The baselines in it.
    pub baselines: Vec<BaselineId>,
    /// Of an import: those that were on record already.
    pub known: Vec<BaselineId>,
    /// Objects in it.
    pub objects: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Of an import: bytes of packs that were added to the store.
    pub stored_bytes: u64,
}

/// The bytes of a bundle of these records and packs, whatever they are.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn encode(baselines: Vec<BaselineRecord>, packs: &[Vec<u8>]) -> Vec<u8> {
    let manifest = serde_json::to_vec(&Manifest { schema: 1, baselines }).expect("a document");
    let mut out = HEADER.to_vec();
    for part in [&manifest].into_iter().chain(packs) {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&0u64.to_le_bytes());
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}
