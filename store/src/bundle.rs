//! Baselines in one file, to be moved to another machine.
//!
//! ```text
//! header │ manifest │ pack │ pack │ … │ end │ BLAKE3 of all before
//! ```
//! The manifest holds the baselines' records; the packs hold exactly what those reach. A bundle is
//! checked as a whole before anything of it is in the store: its hash, each pack's footer, each
//! frame's checksum, each object's id, and that every baseline is whole.

mod export;
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
