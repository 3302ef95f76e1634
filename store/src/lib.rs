//! The content-addressed store: directories and archives go in, trees come out, everything is
//! stored once and checked by its hash.
//!
//! ```text
//! host dir, archive ──ingest──▶ chunks, nodes ──▶ packs ──▶ baseline record
//!                                                   ▲             │
//! guest content ──writer, FileAssembler─────────────┘             ▼
//! host dir ◀──checkout── verified chunks ◀──get── index (sled, memory) ── ls, cat, diff, verify
//! ```
//!
//! What is promised: when an ingest or a commit returns, it survives `kill -9` and the loss of
//! power; whatever is read was compared with its id; what did not return leaves only garbage. The
//! order of writing is: pack, sync, read back, rename, sync of the directory; then the record, in
//! the same way; then the index. The index is only a cache and is rebuilt when missing or broken.
//!
//! The store knows no virtual machine and no network. It prints nothing.

mod baseline;
mod bundle;
mod catalog;
mod checkout;
mod descend;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod holds;
mod index;
mod ingest;
mod inspect;
mod lru;
mod marks;
mod mount;
mod object;
mod outfile;
mod pack;
mod progress;
mod reach;
mod read;
mod store;
mod trust;
mod verify;
mod writer;

pub use baseline::{BaselineRecord, PathBytes, SkipReason, Skipped, Warning};
pub use bundle::BundleReport;
pub use checkout::{CheckoutItem, CheckoutOptions, CheckoutReport, remove_tree};
pub use error::{Error, Result};
pub use gc::{GcOptions, GcReport};
pub use holds::{Hold, Pin};
pub use ingest::filter::{Excludes, Ignores};
pub use ingest::{
    ArchiveLimits, ImageIngest, IngestOptions, IngestReport, IngestSource, SingleReport,
};
pub use inspect::{BaselineUsage, FoundObject, KindStats, Listed, Needed, StoreStats, Usage};
pub use mount::Mount;
pub use object::{Kind, ObjectBytes, ObjectKey};
pub use progress::Progress;
pub use reach::Root;
pub use read::FileReader;
pub use store::{DamagedPack, RebuildReport, Store, StoreOptions};
pub use verify::{BrokenBaseline, BrokenPath, DamagedObject, MAX_PATHS, VerifyReport};
pub use writer::{FileAssembler, StoreWriter, Written};
