//! OCI images as environments.
//!
//! ```text
//! registry ──blobs──▶ cache ─┐
//! image file (tar) ──────────┴─ manifest, layers ──▶ tree in the store ──▶ root.erofs
//! ```
//!
//! The store has the files, so that images share them, and with workspaces too; the EROFS image is made
//! from the tree and can be thrown away.
//!
//! This crate knows no machine, no workspace and no catalog.

mod blobs;
mod digest;
mod directory;
pub mod erofs;
mod error;
mod file;
mod image;
mod reference;
mod registry;

pub use blobs::BlobCache;
pub use digest::Digest;
pub use directory::ingest_directory;
pub use error::{Error, Result};
pub use file::ImageFile;
pub use image::{Image, ImageConfig};
pub use oci_client::Reference;
pub use reference::parse as parse_reference;
pub use registry::{Fetching, Registry, RemoteImage};

/// What guests run: operating system and architecture, in the words of the OCI image specification.
pub const PLATFORM: &str = "linux/amd64";
