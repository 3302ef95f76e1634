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

pub mod erofs;
mod error;

pub use error::{Error, Result};

/// What guests run: operating system and architecture, in the words of the OCI image specification.
pub const PLATFORM: &str = "linux/amd64";
