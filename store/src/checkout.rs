//! Writing a tree, a file or a link back to the host.
//!
//! Everything is made under a temporary name beside the target and renamed when it is complete: the
//! target appears whole or not at all. The temporary name is on record in the store, so that what a
//! killed process left is removed when the store is opened next.
//!
//! Durability: file data is synced once, with `syncfs`, before the rename, and the directory after
//! it. A sync for each of many files would cost more than writing them.

mod archive;
mod place;
mod remove;
mod tree;

use std::fs;
use std::path::Path;

use pyro_format::{BaselineId, Node, RootNode, TimesEntry, TreePath};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::baseline::PathBytes;
use crate::error::{IoContext, Result};
use crate::progress::Progress;
use crate::store::Store;

/// Removes whatever is at `path` and everything below it, however deep, closed to its owner or not,
/// and follows no link. Nothing there is no error.
///
/// # Errors
/// What the file system says; what is left is left.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        opened => opened.at("open", parent.display().to_string())?,
    };
    remove::remove(&parent, name.as_encoded_bytes(), &())
}

/// How something is written to the host.
#[derive(Debug, Clone)]
pub struct CheckoutOptions {
    /// Replace what is at the target. It is exchanged for the new, then removed.
    pub force: bool,
    /// Survive the loss of power after returning.
    pub durable: bool,
}

impl Default for CheckoutOptions {
    fn default() -> Self {
        Self { force: false, durable: true }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutReport {
    /// Files, directories and links, without the top directory; 1 for a file or a link.
    pub entry_count: u64,
    /// Bytes in all files, holes included.
    pub bytes_written: u64,
}

/// What is to be written: an entry's node, and its times if they are to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutItem {
    /// What it is.
    pub node: Node,
    /// Its modification time and, for a directory, those below.
    pub times: Option<TimesEntry>,
}

impl CheckoutItem {
    /// A whole tree.
    pub fn root(root: &RootNode, times: Option<TimesEntry>) -> Self {
        Self { node: Node::Dir { mode: root.mode, tree: root.tree }, times }
    }
}

impl Store {
    /// Writes `item` to `dest`, whose parent must exist. Content is verified on the way. After a
    /// failure, `dest` is as it was and nothing is beside it.
    pub fn checkout(
        &self,
        item: &CheckoutItem,
        dest: &Path,
        options: &CheckoutOptions,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let mut place = place::Place::prepare(self, dest, options)?;
        let report = tree::write(self, item, &place, options.durable, progress)?;
        place.appear()?;
        Ok(report)
    }

    /// Writes what a baseline has at `path` to `dest`, with its modification times.
    pub fn checkout_baseline(
        &self,
        baseline: BaselineId,
        path: &TreePath,
        dest: &Path,
        options: &CheckoutOptions,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let item = self.resolve(&self.baseline_item(baseline)?, path)?;
        self.checkout(&item, dest, options, progress)
    }
}

/// Where an unfinished checkout is.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    dir: PathBytes,
    name: PathBytes,
}

/// Removes what killed checkouts left. What cannot be removed, for example because its file system
/// is not mounted, stays on record.
pub(crate) fn remove_abandoned(records: &Path) -> Result<()> {
    for entry in fs::read_dir(records).at("read", records)? {
        let path = entry.at("read", records)?.path();
        let unfinished = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Unfinished>(&bytes).ok());
        if let Some(unfinished) = unfinished {
            let dir = place::open_dir(CWD, &unfinished.dir.0);
            let gone = dir.is_ok_and(|dir| {
                // Only names that checkouts make up.
                place::is_temporary(&unfinished.name.0)
                    && remove::remove(&dir, &unfinished.name.0, &()).is_ok()
            });
            if gone {
                pyro_durable::remove(&path).at("remove", &path)?;
            }
        }
    }
    Ok(())
}
